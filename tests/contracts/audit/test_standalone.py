"""The second auditor, as a stranger has it: one short file, which needs nothing of FLock."""

from __future__ import annotations

import ast
import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

from contracts.audit import standalone
from contracts.deploy import deploy
from contracts.ledger.artifact import ledger_artefact

FILE = Path(standalone.__file__)
MOST_LINES = 200


def test_it_can_be_read_whole() -> None:
    """At most 200 lines, of which none imports a line of ours."""
    source = FILE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    ours = {"bot", "contracts", "generation", "migrations", "tests"}
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"eth_hash"}
    assert not ours & {name.partition(".")[0] for name in imported}


def test_it_knows_the_committed_code() -> None:
    """By its hash, and the events by their names and types."""
    artefact = ledger_artefact()
    created = bytes.fromhex(artefact.bytecode[2:])
    assert artefact.runtime_keccak == "0x" + standalone.RUNTIME
    assert (keccak(created).hex(), 2 + 2 * len(created)) == (standalone.CREATION, standalone.ROLES)
    assert sorted(standalone.EVENTS.values()) == sorted(abi["name"] for abi in artefact.abi if abi["type"] == "event")


def run(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Run a copy of the file alone, in a folder without any of ours; return its exit code and all that it wrote."""
    copy = shutil.copy(FILE, tmp_path / "standalone.py")
    ended = subprocess.run(
        [sys.executable, "-P", copy, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path, env={}
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_a_stranger_runs_it(chain: Any, tmp_path: Path) -> None:
    """0 for a ledger that agrees, 2 for an address without one, or without a chain; what differs, the lies show."""
    made = asyncio.run(deploy(chain.url, chain.signer, tmp_path / "ledger.json"))
    code, text = run(tmp_path, "--rpc", chain.url, "--ledger", made.address, "--since", str(made.block))
    assert (code, text.splitlines()[0]) == (0, "✓ All agrees.")
    assert f"chain 31431, ledger {made.address.lower()}" in text
    code, text = run(tmp_path, "--rpc", chain.url, "--ledger", "0x" + "12" * 20)
    assert code == 2
    assert "the code there is not the ledger's" in text
    code, text = run(tmp_path, "--rpc", "http://127.0.0.1:9", "--ledger", made.address)
    assert code == 2
    assert "Nothing can be told" in text
