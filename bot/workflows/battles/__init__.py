"""The parts of a battle round that connect it: its registration, its ledger entries, its judge, jobs and result."""
