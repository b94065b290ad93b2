"""What leaves a machine, and when a sending ends early; whole uploads to a real host are in test_worker.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from generation.strict_json import JsonObject
from generation.worker.files import sha256_of
from generation.worker.uploads import HandOverError, is_rendered_file, unless_stopped


async def test_only_a_rendered_file_leaves_the_machine(tmp_path: Path) -> None:
    """Below the folder of videos, with the hash that the job names."""
    (tmp_path / "videos").mkdir()
    video, other = tmp_path / "videos" / "42.mp4", tmp_path / "secret"
    for path in (video, other):
        path.write_bytes(b"bytes")
    sha256 = sha256_of(video) or ""
    assert await is_rendered_file(video, sha256, tmp_path)
    assert not await is_rendered_file(other, sha256, tmp_path)
    assert not await is_rendered_file(video, "0" * 64, tmp_path)
    assert not await is_rendered_file(video.with_suffix(".gone"), sha256, tmp_path)


@pytest.mark.parametrize("stop", [None, "cancel", "closing"])
async def test_a_sending_ends_by_itself_or_is_stopped(stop: str | None) -> None:
    """A cancelled one is an end of the job; a worker that ends hands the job on, and never decides it."""
    cancel, closing, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def watch_for_cancel(_video_id: str) -> AsyncIterator[asyncio.Event]:
        yield cancel

    async def sending() -> JsonObject:
        if stop is None:
            return {"outcome": "done"}
        {"cancel": cancel, "closing": closing}[stop].set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    running = unless_stopped(sending(), "42", watch_for_cancel=watch_for_cancel, closing=closing)
    if stop == "closing":
        with pytest.raises(HandOverError):
            await running
    else:
        assert (await running)["outcome"] == ("done" if stop is None else "cancelled")
    assert stopped.is_set() == (stop is not None)
