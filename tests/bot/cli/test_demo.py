"""`flock demo`: its options. The demo itself is run whole by tests/acceptance and tests/bot/demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.__main__ import build_parser


def test_the_options_of_the_story() -> None:
    """Prompts may be repeated; chaos begins at seed 0 unless another one is named, and not at all by itself."""
    options = build_parser().parse_args(["demo", "--once", "--prompt", "a", "--prompt", "b", "--state", "s", "--chaos"])
    assert (options.once, options.prompt, options.state, options.chaos) == (True, ["a", "b"], Path("s"), 0)
    assert build_parser().parse_args(["demo", "--chaos", "7"]).chaos == 7
    bare = build_parser().parse_args(["demo"])
    assert (bare.once, bare.json, bare.prompt, bare.state, bare.database_url, bare.chaos) == (False, False, *[None] * 4)
    assert (bare.keep, build_parser().parse_args(["demo", "--keep"]).keep) == (False, True)


def test_a_seed_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    """A word in its place is a wrong command line."""
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["demo", "--chaos", "monkeys"])
    assert caught.value.code == 2
    assert "invalid int value" in capsys.readouterr().err
