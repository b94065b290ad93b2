"""The VoteLedger contract as Python sees it: calls, bytes and signatures."""
