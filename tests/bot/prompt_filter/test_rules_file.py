"""The file of rules for prompts: read where it can be, and a sentence that names its setting where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.prompt_filter.rules import RulesError
from bot.prompt_filter.rules_file import LARGEST, open_rules


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="FLOCK_PROMPT_RULES"):
        open_rules(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(RulesError, match="UTF-8"):
        open_rules(tmp_path / "latin.toml")
    assert open_rules(None).look_at("anything") is None


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """Somebody has named another file by mistake: it is not read into memory."""
    large = tmp_path / "large.toml"
    with large.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(RulesError, match="FLOCK_PROMPT_RULES names is larger than 4 MiB"):
        open_rules(large)
    large.write_bytes(b"#" * LARGEST)
    assert open_rules(large).words == 0


def test_the_example_file_is_read() -> None:
    """The file that docs/safety.md points at works as it stands."""
    rules = open_rules(Path("docs/prompt-rules.example.toml"))
    assert rules.look_at("a lighthouse in a storm") is None
    assert rules.look_at("an exampleword") is not None
