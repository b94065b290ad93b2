"""Finished files: signed within their limit, with the watermark where it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from generation.video import c2pa_manifest
from generation.video.latents import latents_hash, read_latents
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


def test_latents_are_kept_beside_the_video(tmp_path: Path) -> None:
    """Where the request says so; the card has their hash in any case, and none of what was not handed over."""
    latents = np.arange(6, dtype=np.float16).reshape(1, 2, 3)
    path = tmp_path / "videos" / "1.latents.safetensors"
    facts = finalized(tmp_path, clip(), latents=latents, latents_path=str(path))
    assert facts["provenance"]["latents"] == {"sha256": latents_hash(latents), "dtype": "float16", "shape": [1, 2, 3]}
    assert read_latents(path, latents_hash(latents)) is not None
    without = finalized(tmp_path / "without", clip(), latents=latents)
    assert without["provenance"]["latents"] == facts["provenance"]["latents"]
    assert sorted(each.name for each in (tmp_path / "without" / "videos").iterdir()) == ["1.jpg", "1.mp4"]
    assert finalized(tmp_path / "none", clip(), latents_path=str(path))["provenance"]["latents"] is None


def test_no_video_fails_for_its_latents(tmp_path: Path) -> None:
    """Where they cannot be written, the video is whole all the same."""
    (tmp_path / "file").write_bytes(b"")
    latents = np.zeros((1, 2), np.float16)
    facts = finalized(tmp_path, clip(), latents=latents, latents_path=str(tmp_path / "file" / "1.latents.safetensors"))
    assert (tmp_path / "videos" / "1.mp4").stat().st_size == facts["size_bytes"]
