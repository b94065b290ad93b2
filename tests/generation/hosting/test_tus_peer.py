"""Our uploader against a TUS server that we did not write: killed at any byte, on either side, nothing is lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from generation.hosting.host import HostUnreachable, UploadGone
from generation.hosting.tus import Patience, upload
from tests.generation.hosting.tus_peer import TusPeer, wire

PATIENT = Patience(failures=20, first_s=0.05, longest_s=0.5)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[TusPeer]:
    server = TusPeer(tmp_path / "tus")
    server.start()
    yield server
    server.kill()


def whole(peer: TusPeer, file: Path) -> None:
    """There is one upload that holds anything, and it holds the very file."""
    wanted = hashlib.sha256(file.read_bytes()).hexdigest()
    assert [hashlib.sha256(data).hexdigest() for data in peer.files() if data] == [wanted]


@pytest.mark.parametrize("chunk", [64 * 1024, 8 * 1024 * 1024])
async def test_a_file_arrives_whole(peer: TusPeer, http: httpx.AsyncClient, big_video: Path, chunk: int) -> None:
    """In many pieces or in one: equal by hash, one upload, its address told once."""
    urls: list[str] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    url = await upload(peer.endpoint, big_video, client=http, on_url=on_url, chunk=chunk)
    assert urls == [url]
    assert len(peer.files()) == 1
    whole(peer, big_video)


async def test_a_relative_address_is_understood(
    tmp_path: Path, http: httpx.AsyncClient, video: Path, ignore_url: Any
) -> None:
    """The server may name the upload by its path alone."""
    peer = TusPeer(tmp_path / "tus", relative=True)
    peer.start()
    try:
        url = await upload(peer.endpoint, video, client=http, on_url=ignore_url)
        assert url.startswith(peer.endpoint + "/")
        whole(peer, video)
    finally:
        peer.kill()


@pytest.mark.parametrize("at", [1, 300, 700, 100_000, 777_777, 1_200_000])
async def test_the_server_is_killed_after_any_byte(
    peer: TusPeer, http: httpx.AsyncClient, big_video: Path, at: int
) -> None:
    """SIGKILL when so many bytes have come, headers and all; started again, it gets the rest and no second file."""
    urls: list[str] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    async def kill_and_start() -> None:
        await asyncio.to_thread(peer.kill)
        await asyncio.to_thread(peer.start)

    async with wire(lambda: peer.port, at, kill_and_start) as port:
        endpoint = f"http://127.0.0.1:{port}/api/asset/upload/tus"
        url = await upload(endpoint, big_video, client=http, on_url=on_url, patience=PATIENT)
    assert urls == [url]
    whole(peer, big_video)


async def test_the_connection_is_cut_in_the_last_byte(peer: TusPeer, http: httpx.AsyncClient, big_video: Path) -> None:
    """Everything was sent and the answer is lost: the offset tells that nothing has to be sent again."""
    urls: list[str] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    sent = 0

    async def count(request: httpx.Request) -> None:
        nonlocal sent
        sent += len(request.content)

    async def all_is_there() -> None:
        async with asyncio.timeout(15):
            while not any(len(data) == big_video.stat().st_size for data in peer.files()):
                await asyncio.sleep(0.01)

    # The client's headers come first: their size is measured on a first upload.
    passed = await _bytes_of_an_upload(peer, http, big_video)
    http.event_hooks["request"] = [count]
    async with wire(lambda: peer.port, passed, all_is_there) as port:
        endpoint = f"http://127.0.0.1:{port}/api/asset/upload/tus"
        await upload(endpoint, big_video, client=http, on_url=on_url, patience=PATIENT)
    assert sent == big_video.stat().st_size
    whole(peer, big_video)


async def _bytes_of_an_upload(peer: TusPeer, http: httpx.AsyncClient, file: Path) -> int:
    """What one undisturbed upload puts on the wire; it leaves nothing behind."""
    seen = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", peer.port)

        async def back() -> None:
            while data := await back_reader.read(65536):
                writer.write(data)
            writer.close()

        answering = asyncio.create_task(back())
        while data := await reader.read(65536):
            seen += len(data)
            back_writer.write(data)
        back_writer.close()
        await answering

    async def ignore(_: str) -> None:
        return None

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - loopback, without TLS
            await upload(f"http://127.0.0.1:{port}/api/asset/upload/tus", file, client=client, on_url=ignore)
    for path in peer.folder.iterdir():
        path.unlink()
    return seen


UPLOADER = """
import asyncio, os, signal, sys, httpx
from pathlib import Path
from generation.hosting.tus import upload

async def on_url(url):
    Path(sys.argv[3]).write_text(url)

async def on_progress(sent, size):
    if sent > size * float(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with httpx.AsyncClient() as client:
        await upload(sys.argv[1], Path(sys.argv[2]), client=client, on_url=on_url, on_progress=on_progress, chunk=65536)

asyncio.run(main())
"""


@pytest.mark.parametrize("share", ["-1", "0.4", "0.99"])
async def test_the_client_is_killed_and_another_one_goes_on(
    peer: TusPeer, http: httpx.AsyncClient, big_video: Path, tmp_path: Path, share: str
) -> None:
    """SIGKILL before the first byte, in the middle, after the last: the stored address is all that its heir needs."""
    script, stored = tmp_path / "uploader.py", tmp_path / "url"
    script.write_text(UPLOADER)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), peer.endpoint, str(big_video), str(stored), share,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    progress: list[int] = []

    async def on_progress(sent: int, _: int) -> None:
        progress.append(sent)

    async def on_url(_: str) -> None:
        raise AssertionError("an upload that goes on gets no new address")

    await upload(
        peer.endpoint, big_video, client=http, on_url=on_url, on_progress=on_progress, resume_url=stored.read_text()
    )
    assert progress[0] >= float(share) * big_video.stat().st_size
    assert len(peer.files()) == 1
    whole(peer, big_video)


async def test_both_are_killed(peer: TusPeer, http: httpx.AsyncClient, big_video: Path, ignore_url: Any) -> None:
    """The uploader gives up while the server is away; with the same address a later one goes on."""
    urls: list[str] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    async def kill() -> None:
        await asyncio.to_thread(peer.kill)

    async with wire(lambda: peer.port, 500_000, kill) as port:
        endpoint = f"http://127.0.0.1:{port}/api/asset/upload/tus"
        with pytest.raises(HostUnreachable):
            await upload(endpoint, big_video, client=http, on_url=on_url, patience=Patience(failures=2, first_s=0.01))
        peer.start()
        await upload(endpoint, big_video, client=http, on_url=ignore_url, resume_url=urls[0], patience=PATIENT)
    whole(peer, big_video)


async def test_an_upload_that_it_does_not_know_is_gone(
    peer: TusPeer, http: httpx.AsyncClient, video: Path, ignore_url: Any
) -> None:
    """Whatever its sentence, a 404 means a new ticket."""
    with pytest.raises(UploadGone):
        await upload(
            peer.endpoint, video, client=http, on_url=ignore_url, resume_url=peer.endpoint + "/0123456789abcdef"
        )
