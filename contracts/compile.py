"""Turns `VoteLedger.vy` into the committed `VoteLedger.json`: `python -m contracts.compile`. Needs the `dev` extra."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contracts.ledger.artifact import ARTEFACT, keccak_hex

SOURCE = Path(__file__).with_name("VoteLedger.vy")


def compile_ledger(source: Path = SOURCE) -> dict[str, Any]:
    """What `VoteLedger.json` must hold for this source: the same source and compiler give the same bytes.

    `source_sha256` names the source text, `integrity` is Vyper's own sum over the source and its imports,
    `runtime_keccak` is what `eth_getCode` of a deployed ledger hashes to, `storage` names the slots that
    `eth_getStorageAt` reads.
    """
    import vyper
    from vyper.compiler import compile_code

    text = source.read_text(encoding="utf-8")
    made = compile_code(
        text,
        contract_path=source.name,
        output_formats=[
            "abi",
            "bytecode",
            "bytecode_runtime",
            "integrity",
            "settings_dict",
            "userdoc",
            "devdoc",
            "layout",
        ],
    )
    runtime = made["bytecode_runtime"]
    return {
        "contract": source.stem,
        "compiler": f"vyper {vyper.__version__}",
        "settings": made["settings_dict"],
        "source_sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        "integrity": made["integrity"],
        "runtime_keccak": keccak_hex(bytes.fromhex(runtime[2:])),
        "abi": made["abi"],
        "bytecode": made["bytecode"],
        "runtime_bytecode": runtime,
        "userdoc": made["userdoc"],
        "devdoc": made["devdoc"],
        "storage": {name: held["slot"] for name, held in made["layout"]["storage_layout"].items()},
    }


def main() -> None:
    """Writes the artefact beside its source and says what it holds."""
    if find_spec("vyper") is None:
        raise SystemExit("Compiling the ledger needs vyper, which is not installed. Run: pip install 'flock[dev]'")
    made = compile_ledger()
    ARTEFACT.write_text(json.dumps(made, indent=1, sort_keys=False) + "\n", encoding="utf-8")
    size = (len(made["runtime_bytecode"]) - 2) // 2
    sys.stdout.write(f"{ARTEFACT.name}: {made['compiler']}, {size} bytes of code, {made['runtime_keccak']}\n")


if __name__ == "__main__":
    main()
