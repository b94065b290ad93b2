"""Provenance cards, read back from their JSON."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from generation.video import provenance
from tests.builders.clips import PROMPT, clip, finalized


def test_the_card_is_of_this_file(tmp_path: Path) -> None:
    """It reads back from JSON, names everything that a re-render needs, and who signed; other frames, another card."""
    facts = finalized(tmp_path, clip())
    card = provenance.read_card(json.dumps(facts["provenance"]))
    assert card["file"]["sha256"] == facts["sha256"]
    assert (card["prompt"], card["seed"], card["ai_generated"]) == (PROMPT, 2**62 + 1, True)
    assert card["model"]["adapters"] == [
        {"source": "org/style", "revision": "1" * 40, "weight_name": None, "scale": 0.5}
    ]
    assert (card["settings"]["steps"], card["settings"]["fps"], card["software"]["av"]) == (2, 8, av.__version__)
    assert card["signed_by"]["kind"] == "self-made"
    assert finalized(tmp_path / "again", clip())["provenance"]["frames_sha256"] == card["frames_sha256"]
    assert finalized(tmp_path / "other", clip()[:-1])["provenance"]["frames_sha256"] != card["frames_sha256"]
    for broken in ("no json", "[]", "{}", json.dumps({**card, "seed": "1"}), json.dumps({**card, "model": {}})):
        with pytest.raises(provenance.CardError, match="provenance card"):
            provenance.read_card(broken)
