"""The choice of the next transaction: entries that wait become one draft."""
