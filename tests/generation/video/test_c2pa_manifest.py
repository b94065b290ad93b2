"""Signed files, read back by C2PA's own reader."""

from __future__ import annotations

from pathlib import Path

from generation.video import c2pa_manifest, provenance
from tests.builders.clips import PROMPT, boxes, clip, decoded, finalized


def test_a_finished_file_says_that_a_model_made_it(tmp_path: Path) -> None:
    """The manifest is valid and names model, revision, seed and the prompt's hash; the file plays, index first."""
    facts = finalized(tmp_path, clip())
    video = tmp_path / "videos" / "1.mp4"
    found = c2pa_manifest.read(video)
    assert found is not None
    assert found["state"] == "Valid"
    assert found["problems"] == ["signingCredential.untrusted"]  # self-made: vouched for by nobody
    assertions = {each["label"]: each["data"] for each in found["manifest"]["assertions"]}
    action = assertions["c2pa.actions.v2"]["actions"][0]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", c2pa_manifest.AI_MADE)
    render, card = assertions["flock.render"], facts["provenance"]
    assert (render["model"], render["revision"], int(render["seed"])) == ("tiny", "r" * 40, 2**62 + 1)
    assert render["prompt_hmac_sha256"] == provenance.prompt_hash(PROMPT, card["frames_sha256"])
    assert render["prompt_hmac_sha256"] != provenance.prompt_hash("a blue circle", card["frames_sha256"])
    assert PROMPT.encode() not in video.read_bytes()
    kinds = boxes(video)
    assert kinds.index(b"moov") < kinds.index(b"mdat")
    finalized(tmp_path / "unsigned", clip(), signing=None)
    unsigned = tmp_path / "unsigned" / "videos" / "1.mp4"
    assert decoded(video) == decoded(unsigned)
    assert c2pa_manifest.read(unsigned) is None
    assert sorted(path.name for path in video.parent.iterdir()) == ["1.jpg", "1.mp4"]
    assert video.stat().st_mode & 0o777 == 0o600
    changed = bytearray(video.read_bytes())
    changed[-100] ^= 1  # a byte of the pictures
    video.write_bytes(changed)
    found = c2pa_manifest.read(video)
    assert found is not None
    assert found["state"] == "Invalid"
    assert "assertion.bmffHash.mismatch" in found["problems"]
