"""The rendered files of a machine: its name, and the notes that make a repeated render free."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.jobs import RenderJob
from generation.worker.files import finished_result, machine_name, remember_result, sha256_of

JOB = RenderJob("42", "a red circle", 7, "quick")


def test_a_machine_keeps_its_name(tmp_path: Path) -> None:
    """The name is made once for a data folder; a damaged one is refused rather than replaced in silence."""
    name = machine_name(tmp_path / "a")
    assert machine_name(tmp_path / "a") == name
    assert machine_name(tmp_path / "b") != name
    (tmp_path / "a" / "machine").write_text("../etc")
    with pytest.raises(ValueError, match="is damaged"):
        machine_name(tmp_path / "a")


def test_only_the_same_job_finds_its_finished_file(tmp_path: Path) -> None:
    """Another prompt, seed, revision, a damaged file or a missing poster each make a render necessary."""
    video = tmp_path / "42.mp4"
    video.write_bytes(b"video")
    video.with_suffix(".jpg").write_bytes(b"poster")
    card = {"prompt": JOB.prompt, "seed": JOB.seed}
    result = {"outcome": "done", "sha256": sha256_of(video), "model_revision": "r1", "provenance": card}
    remember_result(video, JOB, result)
    assert (finished_result(video, JOB, "r1") or {})["sha256"] == result["sha256"]
    assert (finished_result(video, JOB, "r1") or {})["provenance"] == card
    assert "red circle" not in video.with_suffix(".json").read_text()
    assert finished_result(video, RenderJob("42", "a blue circle", 7, "quick"), "r1") is None
    assert finished_result(video, RenderJob("42", "a red circle", 8, "quick"), "r1") is None
    assert finished_result(video, JOB, "r2") is None
    assert finished_result(video, JOB, None) is None
    video.with_suffix(".jpg").unlink()
    assert finished_result(video, JOB, "r1") is None
    video.with_suffix(".jpg").write_bytes(b"poster")
    video.write_bytes(b"vide0")
    assert finished_result(video, JOB, "r1") is None
