"""The committed artefact is what the committed source gives."""

from __future__ import annotations

import hashlib
import json

from contracts.compile import SOURCE, compile_ledger
from contracts.ledger.artifact import ARTEFACT, ledger_artefact


def test_recompiling_gives_the_committed_artefact() -> None:
    """Same source, same compiler, same bytes: run `python -m contracts.compile` after every change."""
    assert compile_ledger() == json.loads(ARTEFACT.read_text(encoding="utf-8"))


def test_the_artefact_names_its_source() -> None:
    """A reader can tell from the hash alone which source the bytes belong to."""
    assert ledger_artefact().source_sha256 == hashlib.sha256(SOURCE.read_bytes()).hexdigest()
