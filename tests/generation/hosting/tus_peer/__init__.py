"""A TUS server that we did not write (npm: @tus/server), as a process that can be killed, and a wire that counts bytes.

`.ci/run` installs it into build/tus-server; where it or Node is missing, its tests are skipped.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = Path(__file__).parents[4] / "build/tus-server/node_modules"
MISSING = (
    "@tus/server is not installed: cp tests/generation/hosting/tus_peer/package*.json build/tus-server/ && "
    "npm ci --prefix build/tus-server --ignore-scripts"
)


class TusPeer:
    """The server; `files` are the bytes of what was uploaded, whole or not."""

    def __init__(self, folder: Path, *, relative: bool = False) -> None:
        node = shutil.which("node")
        if node is None or not (MODULES / "@tus/server").is_dir():
            pytest.skip(MISSING if node else "There is no Node.js to run @tus/server with.")
        self.folder, self.port, self._node = folder, 0, node
        self._relative = "relative" if relative else "absolute"
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        command = [self._node, str(HERE / "server.mjs"), str(MODULES), str(self.folder), str(self.port), self._relative]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=60)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/asset/upload/tus"

    def files(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.folder.iterdir()) if path.suffix != ".json"]


@asynccontextmanager
async def wire(to: Callable[[], int], at: int, strike: Callable[[], Awaitable[None]]) -> AsyncIterator[int]:
    """A loopback port that passes everything on to another; `strike` is awaited once, after exactly `at` bytes of
    clients have passed, and every connection that was open then is cut."""
    passed, struck = 0, False
    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal passed, struck
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", to())
        except OSError:
            writer.close()
            return
        open_now.update({writer, back_writer})
        answering = asyncio.create_task(_pass(back_reader, writer))
        with suppress(OSError):
            while data := await reader.read(65536):
                data = data if struck else data[: at - passed]
                passed += len(data)
                back_writer.write(data)
                await back_writer.drain()
                if not struck and passed >= at:
                    struck = True
                    await strike()
                    for each in open_now:
                        each.transport.abort()
                    break
        answering.cancel()
        for each in (writer, back_writer):
            open_now.discard(each)
            each.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
    for each in open_now:
        each.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
