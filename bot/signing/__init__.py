"""The page on which members sign with a wallet of their browser."""
