"""The command line of the process that trains."""

from __future__ import annotations

import pytest

from generation import extras
from generation.extras import MissingExtraError
from generation.feedback.__main__ import main


def test_a_wrong_command_line_is_answered_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Without loading anything."""
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any import fails."""
    monkeypatch.setitem(extras.EXTRAS, "train", {"peft": "nowhere_peft"})
    with pytest.raises(MissingExtraError, match=r"Tuning needs peft.*pip install 'flock\[train\]'"):
        main(["order.json"])
