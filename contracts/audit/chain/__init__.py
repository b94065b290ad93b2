"""The parts of an audit that ask the chain: a log's start, what made the ledger, what wrote the log, what is stored."""
