"""`flock rerender`: a card that cannot be used is a sentence (tests/generation/worker renders those that can)."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.cli.rerender import rerender_card
from bot.domain.errors import OperatorError
from bot.settings import Settings
from generation.video.provenance import MOST_BYTES


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"x" * (MOST_BYTES + 1), "too large for a provenance card"),
        (b"no card", "card"),
    ],
)
def test_a_card_that_cannot_be_used_is_a_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Nothing is loaded for it."""
    card = tmp_path / "card.json"
    if content is not None:
        card.write_bytes(content)
    with pytest.raises(OperatorError, match=words):
        rerender_card(Settings(_env_file=None, data_dir=tmp_path / "data"), card, None)
    assert not (tmp_path / "data").exists()
