"""Latents of voted videos: taken from where they lie, and never those of another video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from generation.feedback.tuning.examples import Example, path_of_latents, read_latents
from generation.training.latents import gather
from generation.video.latents import latents_hash, latents_path, write_latents
from generation.worker.render_process import RenderChild


def a_rendered_video(data_dir: Path, name: str, number: float, shape: tuple[int, ...] = (1, 2, 3)) -> str:
    """A video's latents and note, as the worker that rendered it keeps them; returns the latents' hash."""
    latents = np.full(shape, number, np.float16)
    video = data_dir / "videos" / f"{name}.mp4"
    write_latents(latents_path(video), latents)
    card = {"latents": {"sha256": latents_hash(latents)}}
    video.with_suffix(".json").write_text(json.dumps({"job": "j", "result": {"provenance": card}}))
    return latents_hash(latents)


def no_child() -> RenderChild:
    raise AssertionError("Nothing is to be rendered again.")


async def nothing(*_: Any) -> None:
    """Nobody reads of it."""


async def test_kept_latents_are_used(tmp_path: Path) -> None:
    """Nothing is rendered, also where a release made them and is gone."""
    hashes = [a_rendered_video(tmp_path, str(n), n) for n in range(3)]
    examples = [Example(f"v{n}", "p", n, 1, 0, latents_sha256=hashes[n], release="ad" * 32) for n in range(3)]
    complete, notes = await gather(examples, tmp_path / "set", tmp_path, child=no_child, releases={}, on_video=nothing)
    assert (complete, notes) == (examples, [])
    assert [float(read_latents(tmp_path / "set", each).mean()) for each in complete] == [0.0, 1.0, 2.0]  # type: ignore[union-attr]  # they are there


async def test_latents_of_a_release_that_is_gone_are_left_out(tmp_path: Path) -> None:
    """The base model would render another video from the same seed."""
    here = Example("v0", "p", 0, 1, 0, latents_sha256=a_rendered_video(tmp_path, "0", 0.5))
    gone = Example("v1", "p", 1, 0, 1, latents_sha256="ab" * 32, release="ad" * 32, release_number=2)
    complete, notes = await gather(
        [here, gone], tmp_path / "set", tmp_path, child=no_child, releases={}, on_video=nothing
    )
    assert complete == [here]
    assert notes == ["1 of 2 videos were left out: a release rendered them, and cannot any more."]


async def test_changed_latents_are_not_used(tmp_path: Path) -> None:
    """The note says one hash, and the file has other numbers."""
    sha256 = a_rendered_video(tmp_path, "0", 0.5)
    write_latents(latents_path(tmp_path / "videos" / "0.mp4"), np.zeros((1, 2, 3), np.float16))
    changed = Example("v0", "p", 0, 1, 0, latents_sha256=sha256, release="ad" * 32)
    complete, _ = await gather([changed], tmp_path / "set", tmp_path, child=no_child, releases={}, on_video=nothing)
    assert complete == []
    assert not path_of_latents(tmp_path / "set", "v0").exists()


async def test_latents_of_another_size_are_left_out(tmp_path: Path) -> None:
    """A batch has one shape; those of most videos stay."""
    shapes = [(1, 2, 3), (1, 2, 3), (1, 4, 3)]
    hashes = [a_rendered_video(tmp_path, str(n), n, shape) for n, shape in enumerate(shapes)]
    examples = [Example(f"v{n}", "p", n, 1, 0, latents_sha256=hashes[n]) for n in range(3)]
    complete, notes = await gather(examples, tmp_path / "set", tmp_path, child=no_child, releases={}, on_video=nothing)
    assert complete == examples[:2]
    assert notes == ["1 of 3 videos were left out: they have another size than most."]
