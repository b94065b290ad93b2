"""The committed artefact `VoteLedger.json`: interface and bytes of the contract, so that running needs no compiler."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

ARTEFACT = Path(__file__).parents[1] / "VoteLedger.json"


def keccak_hex(data: bytes) -> str:
    """Keccak-256 as 0x and 64 hex digits."""
    return "0x" + keccak(data).hex()


@dataclass(frozen=True)
class Artefact:
    """What a client needs of the compiled contract."""

    abi: list[dict[str, Any]]
    bytecode: str
    runtime_bytecode: str
    runtime_keccak: str
    compiler: str
    source_sha256: str


@functools.cache
def ledger_artefact() -> Artefact:
    """The artefact of the `VoteLedger` that this version of FLock writes to and reads."""
    held = json.loads(ARTEFACT.read_text(encoding="utf-8"))
    return Artefact(
        abi=held["abi"],
        bytecode=held["bytecode"],
        runtime_bytecode=held["runtime_bytecode"],
        runtime_keccak=held["runtime_keccak"],
        compiler=held["compiler"],
        source_sha256=held["source_sha256"],
    )
