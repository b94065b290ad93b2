"""The rows, by SQLAlchemy Core: each module reads and writes one noun. No Discord here.

Functions that take a connection act in the caller's transaction; those that take a database open their own. `get`
raises where there is no row, `*_or_none` returns None, `lock_*` locks until the end of the transaction.
"""
