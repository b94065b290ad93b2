"""The committed artefact `VoteLedger.json`: interface and bytes of the contract, so that running needs no compiler."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

LEDGER_VERSION = "2"  # as the contract's `version` returns it; a part of what wallets sign
ARTEFACT = Path(__file__).parents[1] / "VoteLedger.json"


def keccak_hex(data: bytes) -> str:
    """Return Keccak-256 as 0x and 64 hex digits."""
    return "0x" + keccak(data).hex()


@dataclass(frozen=True)
class Artefact:
    """The parts of the compiled contract that a client needs."""

    abi: list[dict[str, Any]]
    bytecode: str
    runtime_bytecode: str
    runtime_keccak: str
    compiler: str
    source_sha256: str
    storage: dict[str, int]  # the slots of its variables, by their names


@functools.cache
def ledger_artefact() -> Artefact:
    """Return the artefact of the `VoteLedger` that this version of FLock writes to and reads."""
    content = json.loads(ARTEFACT.read_text(encoding="utf-8"))
    return Artefact(
        abi=content["abi"],
        bytecode=content["bytecode"],
        runtime_bytecode=content["runtime_bytecode"],
        runtime_keccak=content["runtime_keccak"],
        compiler=content["compiler"],
        source_sha256=content["source_sha256"],
        storage=content["storage"],
    )
