"""Uploads whose client or host is killed at a random byte: do all arrive whole, and how much is sent twice?"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import Patience, upload
from tests.benchmarks.figures import Figure
from tests.builders.clips import make_video
from tests.builders.hosts import BRISK, HostProcess

PIECE = 64 * 1024
# A client of its own: endpoint on stdin; file, where its address is kept, and the byte after which it is killed.
CLIENT = """
import asyncio, os, signal, sys, httpx
from pathlib import Path
from generation.hosting.tus import upload
path, kept, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
async def on_url(url): kept.write_text(url)
async def on_progress(sent, size):
    if sent > last: os.kill(os.getpid(), signal.SIGKILL)
async def main():
    async with httpx.AsyncClient() as client:
        await upload(sys.stdin.read(), path, client=client, on_url=on_url, on_progress=on_progress, chunk=65536)
asyncio.run(main())
"""


@dataclass
class Run:
    """An upload: from which bytes it went on, and what was told to the client of its way."""

    path: Path
    url: str | None = None
    told: list[int] = field(default_factory=list)

    async def on_url(self, url: str) -> None:
        self.url = url

    async def on_progress(self, sent: int, _: int) -> None:
        self.told.append(sent)


async def measure(*, uploads: int = 20, frames: int = 240) -> list[Figure]:
    """`uploads` of a video of noise (some 13 kB a frame): in turns the client and the host are killed."""
    dice = random.Random(2026)  # noqa: S311  # the same bytes in every run
    whole, began = 0, []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        path = make_video(state / "noise.mp4", frames=frames, noise=True)
        size = path.stat().st_size
        key = secrets.token_hex(16)
        host = HostProcess(state / "host", key)
        host.start()
        try:
            watch = host.base + "/v/{playback_id}"
            async with (
                httpx.AsyncClient() as client,
                LivepeerHost(host.base + "/api", key, watch, polling=BRISK) as livepeer,
            ):
                for number in range(uploads):
                    ticket = await livepeer.request_upload(f"noise-{number}", creator="flock:bench")
                    run, at = Run(path), dice.randrange(PIECE, size - PIECE)
                    if number % 2:
                        await _host_dies(host, client, ticket.tus_endpoint, run, at)
                    else:
                        await _client_dies(client, ticket.tus_endpoint, run, at)
                        began.append(run.told[0])
                    playback = await livepeer.wait_until_playable(ticket.asset_id)
                    served = await client.get(playback.mp4_url or "")
                    whole += served.content == path.read_bytes()
        finally:
            host.kill()
    beside = (
        f"{whole} of {uploads} uploads of {size / 1e6:.1f} MB arrived whole by TUS; client and host were killed with "
        f"SIGKILL in turns, at random bytes; a killed client's successor began at {min(began) / size:.0%} to "
        f"{max(began) / size:.0%}"
    )
    return [Figure("upload_resume_ok", round(whole / uploads, 3), beside, at_least=1.0)]


async def _client_dies(client: httpx.AsyncClient, endpoint: str, run: Run, at: int) -> None:
    """A client process is killed once `at` bytes were acknowledged; another goes on from its stored address."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "url"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CLIENT, str(run.path), str(kept), str(at)),
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        await process.communicate(endpoint.encode())
        if process.returncode != -9:
            raise AssertionError(f"The client ended with {process.returncode} before it could be killed.")
        url = kept.read_text()
    await upload(
        endpoint,
        run.path,
        client=client,
        on_url=run.on_url,
        on_progress=run.on_progress,
        resume_url=url,
        chunk=PIECE,
    )
    if run.told[0] < at - PIECE:
        raise AssertionError(f"{at} bytes were acknowledged, and the upload went on from {run.told[0]}.")


async def _host_dies(host: HostProcess, client: httpx.AsyncClient, endpoint: str, run: Run, at: int) -> None:
    """The host is killed once `at` bytes were acknowledged, and started again on what it kept."""
    killed = False

    async def on_progress(sent: int, size: int) -> None:
        nonlocal killed
        await run.on_progress(sent, size)
        if sent > at and not killed:
            killed = True
            await asyncio.to_thread(host.kill)
            await asyncio.to_thread(host.start)

    await upload(
        endpoint,
        run.path,
        client=client,
        on_url=run.on_url,
        on_progress=on_progress,
        chunk=PIECE,
        patience=Patience(failures=10, first_s=0.05),
    )
    if not killed:
        raise AssertionError("The host was not killed.")
