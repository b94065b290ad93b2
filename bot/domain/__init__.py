"""The pure nouns: rounds, videos, votes, standings. No I/O, no clock; no SQLAlchemy, discord or asyncio."""
