"""The command line of the process that trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from generation import extras
from generation.extras import MissingExtraError
from generation.feedback.__main__ import main


def test_a_wrong_command_line_is_answered_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Without loading anything."""
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err


def test_a_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Its stdin is closed when its worker is killed, and two processes never train in one folder."""
    reader, writer = os.pipe()
    code = "import threading; from generation.feedback import __main__ as main; main._end_with_stdin()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=reader) as process:  # our own module
        os.close(reader)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        os.close(writer)
        assert process.wait(60) == 1
    assert main([str(tmp_path / "order.json"), "--else"]) == 2


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any import fails."""
    monkeypatch.setitem(extras.EXTRAS, "train", {"peft": "nowhere_peft"})
    with pytest.raises(MissingExtraError, match=r"Tuning needs peft.*pip install 'flock\[train\]'"):
        main(["order.json"])
