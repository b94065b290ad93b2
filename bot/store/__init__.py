"""What is kept, by SQLAlchemy Core: each module reads and writes one noun."""
