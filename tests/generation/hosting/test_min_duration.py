"""A short video's copy for its host: long enough, the same pictures over and over, and the same each time."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from bot.demo.host import EmbeddedHost
from generation.hosting.host import AssetFailed
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.min_duration import extend_to_min_duration
from generation.hosting.tus import upload


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder(tmp_path: Path) -> Path:
    """Where copies go."""
    found = tmp_path / "copies"
    found.mkdir(exist_ok=True)
    return found


def pictures(path: Path) -> list[Any]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


@pytest.mark.parametrize(("frames", "turns"), [(1, 96), (30, 4), (47, 3), (95, 2)])
def test_a_short_video_is_repeated(make: Any, tmp_path: Path, frames: int, turns: int) -> None:
    """Every picture comes back in order, at a constant rate, for four seconds at least; the original stays as it is."""
    path = make(tmp_path / "clip.mp4", frames=frames)
    before = path.read_bytes()
    copy, digest = extend_to_min_duration(path, sha256(path), 4.0, folder(tmp_path))
    assert digest == sha256(copy) != sha256(path)
    with av.open(str(copy)) as file:
        stream = file.streams.video[0]
        times = [float(frame.time) for frame in file.decode(video=0) if frame.time is not None]
        assert float(stream.duration * stream.time_base) >= 4.0
    assert np.allclose(np.diff(times), 1 / 24)
    shown, original = pictures(copy), pictures(path)
    assert len(shown) == turns * frames
    assert all(np.array_equal(shown[i], original[i % frames]) for i in range(len(shown)))
    assert copy.read_bytes().index(b"moov") < copy.read_bytes().index(b"mdat")
    assert path.read_bytes() == before


def test_the_same_video_gives_the_same_copy(make: Any, tmp_path: Path) -> None:
    """So an upload that was cut goes on after a restart, though the copy was lost."""
    path = make(tmp_path / "clip.mp4", frames=30)
    copy, digest = extend_to_min_duration(path, sha256(path), 4.0, folder(tmp_path))
    copy.unlink()
    assert extend_to_min_duration(path, sha256(path), 4.0, folder(tmp_path)) == (copy, digest)


@pytest.mark.parametrize(("frames", "least_s"), [(96, 4.0), (120, 4.0), (30, 0.0)])
def test_a_video_that_is_long_enough_goes_as_it_is(make: Any, tmp_path: Path, frames: int, least_s: float) -> None:
    """No copy is made."""
    path = make(tmp_path / "clip.mp4", frames=frames)
    assert extend_to_min_duration(path, sha256(path), least_s, folder(tmp_path)) == (path, sha256(path))
    assert list(folder(tmp_path).iterdir()) == []


def test_what_is_no_video_goes_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The host says what it thinks of it; the log says why it was not made longer."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video at all" * 100)
    with caplog.at_level(logging.WARNING):
        assert extend_to_min_duration(path, sha256(path), 4.0, folder(tmp_path)) == (path, sha256(path))
    assert "could not be made longer" in caplog.text
    assert list(folder(tmp_path).iterdir()) == []


def test_another_file_under_its_name_is_not_sent(make: Any, tmp_path: Path) -> None:
    """A repeated render may have come to stand there since."""
    path = make(tmp_path / "clip.mp4", frames=30)
    with pytest.raises(OSError, match="another one"):
        extend_to_min_duration(path, "0" * 64, 4.0, folder(tmp_path))


async def test_a_host_that_fails_short_videos_plays_the_copy(
    hosting: Any, make: Any, tmp_path: Path, http: httpx.AsyncClient, brisk: Any, key: str, ignore_url: Any
) -> None:
    """As it is said of Livepeer: the video itself fails there, its copy does not."""
    path = make(tmp_path / "clip.mp4", frames=30)
    host: EmbeddedHost
    async with hosting(fail_shorter_than_s=3.0) as host:
        livepeer = LivepeerHost(host.api_base, key, host.watch_page, http, polling=brisk)
        copy, _ = extend_to_min_duration(path, sha256(path), livepeer.shortest_s, folder(tmp_path))
        for file, plays in ((path, False), (copy, True)):
            ticket = await livepeer.request_upload(file.name, creator="flock:test")
            await upload(ticket.tus_endpoint, file, client=http, on_url=ignore_url)
            if plays:
                assert (await livepeer.wait_until_playable(ticket.asset_id)).mp4_url
            else:
                with pytest.raises(AssetFailed):
                    await livepeer.wait_until_playable(ticket.asset_id)
