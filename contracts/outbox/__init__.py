"""The rows that wait for the ledger, and how far they are."""
