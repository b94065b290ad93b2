"""The compiler of `VoteLedger.vy` into the committed `VoteLedger.json`: `python -m contracts.compile`. Needs `dev`."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from contracts.ledger.artifact import ARTEFACT, keccak_hex

SOURCE = Path(__file__).with_name("VoteLedger.vy")


def compile_ledger(source: Path = SOURCE) -> dict[str, object]:
    """Return the content of `VoteLedger.json` for this source: the same source and compiler give the same bytes.

    `source_sha256` names the source text, `integrity` is Vyper's own sum over the source and its imports,
    `runtime_keccak` is what `eth_getCode` of a deployed ledger hashes to, `storage` names the slots that
    `eth_getStorageAt` reads.
    """
    import vyper
    from vyper.compiler import compile_code

    text = source.read_text(encoding="utf-8")
    compiled = compile_code(
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
    runtime = compiled["bytecode_runtime"]
    return {
        "contract": source.stem,
        "compiler": f"vyper {vyper.__version__}",
        "settings": compiled["settings_dict"],
        "source_sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        "integrity": compiled["integrity"],
        "runtime_keccak": keccak_hex(bytes.fromhex(runtime[2:])),
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"],
        "runtime_bytecode": runtime,
        "userdoc": compiled["userdoc"],
        "devdoc": compiled["devdoc"],
        "storage": {name: slot["slot"] for name, slot in compiled["layout"]["storage_layout"].items()},
    }


def main() -> None:
    """Write the artefact beside its source and print a summary of it."""
    if find_spec("vyper") is None:
        raise SystemExit("Compiling the ledger needs vyper, which is not installed. Run: pip install 'flock[dev]'")
    artefact = compile_ledger()
    ARTEFACT.write_text(json.dumps(artefact, indent=1, sort_keys=False) + "\n", encoding="utf-8")
    size = (len(str(artefact["runtime_bytecode"])) - 2) // 2
    sys.stdout.write(f"{ARTEFACT.name}: {artefact['compiler']}, {size} bytes of code, {artefact['runtime_keccak']}\n")


if __name__ == "__main__":
    main()
