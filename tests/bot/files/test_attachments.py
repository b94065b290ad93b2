"""What is attached to a card: a rendered video and nothing else, whatever a worker or a host may name."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

import httpx
import numpy as np
import pytest
from aiohttp import web

from bot.domain.videos import Video
from bot.files.attachments import fetch_mp4, plays, read_here, rendered_here
from generation.hosting.reach import PUBLIC, Reach
from generation.video.encode import encode


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A real video, where a worker of this machine leaves it."""
    path = tmp_path / "data" / "videos" / "42.mp4"
    encode(np.zeros((4, 32, 32, 3), dtype=np.uint8), 8, path, path.with_suffix(".jpg"))
    return path


@pytest.fixture
async def host(video: Path) -> AsyncIterator[str]:
    """A web server that has the video, and much that is none."""

    async def give(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name == "round-and-round":
            raise web.HTTPFound("/round-and-round")
        if name == "there":
            raise web.HTTPFound("/video")
        bodies = {"video": video.read_bytes(), "page": b"<html>secret</html>", "list": b"#EXTM3U\n", "nothing": b""}
        return web.Response(body=bodies[name]) if name in bodies else web.Response(status=404, body=bodies["video"])

    app = web.Application()
    app.router.add_get("/{name}", give)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def test_a_video_of_this_machine_is_taken_from_its_disk(video: Path, tmp_path: Path) -> None:
    """Also where the data folder is named by another way."""
    assert rendered_here(str(video), tmp_path / "data") == video
    assert rendered_here(str(video), tmp_path / "data" / "videos" / "..") == video


@pytest.mark.parametrize(
    "named",
    ["/etc/passwd", "{data}/flock.db", "{data}/videos/../flock.db", "{data}/videos/42.jpg", "{data}/videos/link.mp4"],
)
def test_no_other_file_of_ours_is_ever_posted(video: Path, tmp_path: Path, named: str) -> None:
    """A worker that names the database, a key or a link to one gets nothing posted."""
    data = tmp_path / "data"
    (data / "flock.db").write_text("votes")
    (data / "videos" / "link.mp4").symlink_to(data / "flock.db")
    path = named.format(data=data)
    assert Path(path).is_file()
    assert rendered_here(path, data) is None


@pytest.mark.parametrize("named", [None, "", "\0", "/nowhere/42.mp4", "{data}/videos/43.mp4"])
def test_a_file_that_is_not_here_is_looked_for_at_the_host(video: Path, tmp_path: Path, named: str | None) -> None:
    """It was rendered on another machine, or its name is no name."""
    assert rendered_here(named and named.format(data=tmp_path / "data"), tmp_path / "data") is None


def test_only_the_bytes_that_are_recorded_are_posted(video: Path, tmp_path: Path) -> None:
    """What a repeated render left under the same name is another video than the one on the ledger."""
    values = {field.name: None for field in fields(Video)}
    recorded = hashlib.sha256(video.read_bytes()).hexdigest()
    row = Video(**{**values, "id": "42", "video_path": str(video), "sha256": recorded})  # type: ignore[arg-type]  # of any kind
    assert read_here(row, tmp_path / "data") == video.read_bytes()
    encode(np.full((4, 32, 32, 3), 99, dtype=np.uint8), 8, video, video.with_suffix(".jpg"))
    assert read_here(row, tmp_path / "data") is None


async def test_a_video_of_another_machine_comes_from_the_host(host: str, video: Path) -> None:
    """Byte for byte, also by way of a redirect."""
    for name in ("video", "there"):
        assert await fetch_mp4(f"{host}/{name}", 1 << 20, Reach.of(host)) == video.read_bytes()


@pytest.mark.parametrize("name", ["page", "list", "nothing", "gone", "round-and-round"])
async def test_what_is_no_mp4_is_not_posted(host: str, name: str) -> None:
    """A host that sends us to some page, perhaps one that only we can see, gets none of it posted."""
    assert await fetch_mp4(f"{host}/{name}", 1 << 20, Reach.of(host)) is None


async def test_what_is_too_large_is_not_loaded_whole(host: str, video: Path) -> None:
    """At the limit it is posted, beyond it not."""
    size = video.stat().st_size
    assert await fetch_mp4(f"{host}/video", size, Reach.of(host)) is not None
    assert await fetch_mp4(f"{host}/video", size - 1, Reach.of(host)) is None


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "http://host:port/", "http://127.0.0.1:1/video", "http://inside/video"]
)
async def test_an_address_that_is_none_is_not_asked(url: str) -> None:
    """Then the card shows what the host has."""
    assert await fetch_mp4(url, 1 << 20, PUBLIC) is None


async def test_a_host_that_is_away_is_asked_again() -> None:
    """The caller is told by the kind of error that it waits out."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}/video"
    with pytest.raises(httpx.TransportError):
        await fetch_mp4(nobody, 1 << 20, Reach.of(nobody))


@pytest.mark.parametrize(
    ("name", "is_played"),
    [("video", True), ("there", True), ("page", False), ("list", False), ("nothing", False), ("missing", False)],
)
async def test_only_an_mp4_plays_at_an_address(host: str, name: str, is_played: bool) -> None:
    """Neither a page, nor a list of segments, nor an address at which there is nothing."""
    assert await plays(f"{host}/{name}", Reach.of(host)) is is_played
    assert not await plays("ftp://host.example/video", PUBLIC)
    assert not await plays(f"{host}/round-and-round", Reach.of(host))
