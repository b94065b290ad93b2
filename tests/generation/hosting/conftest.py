"""A real embedded host on a free port, and small real videos to send it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.host import EmbeddedHost, Faults, HostConfig
from generation.hosting.host import Polling
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import Patience
from tests.builders.clips import make_video
from tests.builders.hosts import BRISK

KEY = "lp-test-key-0123456789"


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, a few kilobytes."""
    return make_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture(scope="session")
def big_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise: more than a megabyte, so that an upload has a middle."""
    return make_video(tmp_path_factory.mktemp("video") / "noise.mp4", frames=120, noise=True)


@pytest.fixture
def make() -> Callable[..., Path]:
    return make_video


HostMaker = Callable[..., Any]


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def hosting(tmp_path: Path, faults: Faults) -> HostMaker:
    """`async with hosting(config…) as host`: a host on `tmp_path/host`, with faults that the test may change."""

    @asynccontextmanager
    async def opened(**config: Any) -> AsyncIterator[EmbeddedHost]:
        settings = HostConfig(**{"haste": 200.0, **config})
        async with EmbeddedHost(tmp_path / "host", KEY, config=settings, faults=faults) as host:
            yield host

    return opened


@pytest.fixture
async def host(hosting: HostMaker) -> AsyncIterator[EmbeddedHost]:
    async with hosting() as opened:
        yield opened


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    """Made once: it takes longer than most of these tests, and loopback needs none."""
    return ssl.create_default_context()


@pytest.fixture
async def livepeer(host: EmbeddedHost, tls: ssl.SSLContext) -> AsyncIterator[LivepeerHost]:
    async with httpx.AsyncClient(verify=tls) as client:
        yield LivepeerHost(host.api_base, KEY, host.watch_page, client, polling=BRISK, retry_s=0.01)


@pytest.fixture
async def http(tls: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
    """A client without any key, as the worker and a browser have it."""
    async with httpx.AsyncClient(verify=tls) as client:
        yield client


@pytest.fixture
def authorized() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def quick() -> Patience:
    return Patience(failures=4, first_s=0.01, longest_s=0.05)


@pytest.fixture
def brisk() -> Polling:
    return BRISK


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def ignore_url() -> Callable[[str], Awaitable[None]]:
    async def on_url(_: str) -> None:
        return None

    return on_url


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    """`await until(check)`: asks again until the answer is true, at most 15 s."""

    async def wait(check: Callable[[], Awaitable[Any]]) -> Any:
        deadline = time.monotonic() + 15
        while not (answer := await check()):
            assert time.monotonic() < deadline, "what the test waits for did not happen in 15 s"
            await asyncio.sleep(0.02)
        return answer

    return wait
