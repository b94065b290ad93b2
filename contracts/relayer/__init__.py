"""The relayer: from the outbox to final transactions. The only owner of the account's nonce."""
