"""Opens an HTTP listener of a process: the metrics, the signing page and the webhooks share this one way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from bot.domain.errors import OperatorError

SHUTDOWN_S = 1.0  # for requests in progress when the block ends


@asynccontextmanager
async def listening(
    application: web.Application, host: str, port: int, *, purpose: str, setting: str
) -> AsyncIterator[None]:
    """Serve an application within this block; port 0 opens nothing. Requests are not logged.

    Raises OperatorError where the port cannot be opened: "Port 9000 cannot be opened for [purpose] …", with the
    setting that names another port.
    """
    if not port:
        yield
        return
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise OperatorError(
                f"Port {port} cannot be opened for {purpose} ({error.strerror}). "
                f"Set {setting} to a free port; each process on a machine needs its own."
            ) from None
        yield
    finally:
        await runner.cleanup()
