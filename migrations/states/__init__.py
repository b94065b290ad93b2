"""The states and kinds in the tables, as enums: one file for each field of tables. No SQLAlchemy here."""
