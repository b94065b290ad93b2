"""The keys that sign transactions: a keystore file or a cloud's key service."""
