"""The addresses from which the embedded host fetches."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.demo.host.media import UnplayableError
from bot.demo.host.phases import fetch, is_loopback


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("http://127.0.0.1:1/x", True),
        ("https://[::1]/x", True),
        ("http://127.8.8.8/", True),
        ("http://localhost/x", False),
        ("http://10.0.0.1/x", False),
        ("file:///etc/passwd", False),
        ("http://127.0.0.1.example.org/", False),
        ("http://[", False),
    ],
)
def test_only_an_address_of_this_machine_counts(url: str, right: bool) -> None:
    """A name never does: it may lead anywhere."""
    assert is_loopback(url) is right


async def test_an_address_elsewhere_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """It may hold a token; and nothing is written."""
    with pytest.raises(UnplayableError, match="loopback") as raised:
        await fetch("http://example.org/?token=secret", tmp_path / "video", 10)
    assert "secret" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
