"""The table of threats in SECURITY.md: each row names a test that holds it, or is one that nothing here can stop."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A stolen token or pepper is worth what it is worth; the row says what remains, and how it is replaced.
WITHOUT_A_TEST = {"thief of the Discord token", "anybody who has the pepper"}


def rows() -> dict[str, list[str]]:
    """The rows of the table: who, and the files of tests that the row names."""
    text = (ROOT / "SECURITY.md").read_text()
    table = text.split("## Threats", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| \*\*(.+?)\*\*(.*)$", table, re.MULTILINE)
    return {who: re.findall(r"`(tests/[\w/.]+)`", words) for who, words in lines}


def test_each_threat_names_the_test_that_holds_it() -> None:
    """And the files are there, with tests in them."""
    threats = rows()
    assert len(threats) > 15
    assert {who for who, files in threats.items() if not files} == WITHOUT_A_TEST
    for file in {file for files in threats.values() for file in files}:
        path = ROOT / file
        assert path.exists(), file
        if path.is_file():
            assert "def test_" in path.read_text(), file
