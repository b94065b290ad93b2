"""Finished files: signed within their limit, with the watermark where it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from generation.video import c2pa_manifest
from tests.builders.clips import clip, decoded, finalized


def test_a_signed_file_fits_too(tmp_path: Path) -> None:
    """The room for the manifest is kept free within the limit."""
    noise = np.random.default_rng(1).integers(0, 255, (9, 96, 128, 3), np.uint8)
    assert finalized(tmp_path / "whole", noise)["size_bytes"] > 80_000
    facts = finalized(tmp_path, noise, fit_bytes=80_000)
    assert facts["size_bytes"] <= 80_000
    found = c2pa_manifest.read(tmp_path / "videos" / "1.mp4")
    assert found is not None
    assert found["state"] == "Valid"


def test_the_label_can_be_in_the_picture(tmp_path: Path) -> None:
    """The card says so, and its hash is that of the frames without the label."""
    facts = finalized(tmp_path, clip(), label_frames=True)
    assert facts["provenance"]["label_in_picture"] is True
    plain = finalized(tmp_path / "plain", clip())
    assert plain["provenance"]["label_in_picture"] is False
    assert plain["provenance"]["frames_sha256"] == facts["provenance"]["frames_sha256"]
    assert decoded(tmp_path / "videos" / "1.mp4") != decoded(tmp_path / "plain" / "videos" / "1.mp4")
