"""The fixtures of the embedded chain, which most tests of the ledger run on."""

from tests.contracts.conftest import chain, ledger, migrated, start_chain, store

__all__ = ["chain", "ledger", "migrated", "start_chain", "store"]
