"""`flock demo`: its options. The demo itself is run whole by tests/acceptance and tests/bot/demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.__main__ import build_parser

ANYWHERE = "0.0.0.0"  # noqa: S104  # what a container's command line says; nothing listens there in this test


def test_the_options_of_the_story() -> None:
    """Prompts may be repeated; chaos begins at seed 0 unless another one is named, and not at all by itself."""
    options = build_parser().parse_args(["demo", "--once", "--prompt", "a", "--prompt", "b", "--state", "s", "--chaos"])
    assert (options.once, options.prompt, options.state, options.chaos) == (True, ["a", "b"], Path("s"), 0)
    assert build_parser().parse_args(["demo", "--chaos", "7"]).chaos == 7
    bare = build_parser().parse_args(["demo"])
    assert (bare.once, bare.json, bare.prompt, bare.state, bare.database_url, bare.chaos) == (False, False, *[None] * 4)
    assert (bare.keep, build_parser().parse_args(["demo", "--keep"]).keep) == (False, True)


def test_the_page_may_listen_elsewhere() -> None:
    """A host and a port, of either kind of address; on loopback unless it is said."""
    assert build_parser().parse_args(["demo", "--page", "0.0.0.0:8765"]).page == (ANYWHERE, 8765)
    assert build_parser().parse_args(["demo", "--page", ":::80"]).page == ("::", 80)
    assert build_parser().parse_args(["demo"]).page is None


@pytest.mark.parametrize("text", ["8765", ":8765", "0.0.0.0:", "0.0.0.0:web", "0.0.0.0:0", "0.0.0.0:65536"])
def test_half_an_address_is_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence shows an address that would do."""
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["demo", "--page", text])
    assert caught.value.code == 2
    assert "is not HOST:PORT, such as 0.0.0.0:8765" in capsys.readouterr().err


def test_a_seed_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    """A word in its place is a wrong command line."""
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["demo", "--chaos", "monkeys"])
    assert caught.value.code == 2
    assert "invalid int value" in capsys.readouterr().err
