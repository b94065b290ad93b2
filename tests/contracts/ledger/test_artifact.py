"""The artefact that clients read: its parts belong to each other."""

from __future__ import annotations

import re

from contracts.compile import SOURCE
from contracts.ledger.artifact import LEDGER_VERSION, keccak_hex, ledger_artefact


def test_the_code_on_chain_has_the_hash_that_clients_compare() -> None:
    """The hash is that of the runtime code, not of the code that deploys it."""
    artefact = ledger_artefact()
    assert keccak_hex(bytes.fromhex(artefact.runtime_bytecode[2:])) == artefact.runtime_keccak
    assert keccak_hex(bytes.fromhex(artefact.bytecode[2:])) != artefact.runtime_keccak


def test_the_version_is_the_contracts_own() -> None:
    """Wallets sign it, and a ledger of another version is named by it."""
    [version] = re.findall(r'^version: public\(constant\(String\[8\]\)\) = "(.*)"$', SOURCE.read_text(), re.MULTILINE)
    assert version == LEDGER_VERSION
