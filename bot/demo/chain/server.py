"""The embedded chain's port: JSON-RPC over HTTP before the one thread that owns the blocks. Imports py-evm."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import re
import secrets
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web
from eth_keys.datatypes import PrivateKey

from bot.demo.chain.blocks import Blocks
from bot.demo.chain.blockstore import ChainError, octets
from bot.demo.chain.faults import ChainFaults
from bot.demo.chain.methods import NOTICE, Methods
from bot.demo.faults import control_routes

CHAIN_ID = 31_431
MAX_BODY = 4 * 1024 * 1024  # bytes
MAX_DEPTH = 100  # of nested lists and objects in a request
MAX_BATCH = 200

log = logging.getLogger(__name__)


def _parse(body: bytes) -> Any:
    """JSON of a sane depth. Raises ValueError.

    py-evm lets Python recurse so deep (for calls in calls) that nested brackets would overflow the stack and end us.
    """
    depth = 0
    for bracket in re.finditer(rb"[\[\]{}]", body):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
    return json.loads(body)


class Port:
    """The HTTP side: one or many requests a POST, answered in order by the one thread that owns the blocks."""

    def __init__(self, methods: Methods, thread: ThreadPoolExecutor, faults: ChainFaults | None = None) -> None:
        self._methods = methods
        self._thread = thread
        self._faults = faults

    async def handle(self, request: web.Request) -> web.StreamResponse:
        # a web page cannot post JSON to us without a preflight, which we do not answer
        if request.content_type != "application/json" or "Origin" in request.headers:
            return web.json_response(_refusal(None, -32600, "post application/json"), status=415)
        try:
            body = _parse(await request.read())
        except ValueError:
            return web.json_response(_refusal(None, -32700, "parse error"))
        if self._faults is None:
            return await self._carry_out(body)
        return await self._faults.answer(request, body, lambda: self._carry_out(body))

    async def _carry_out(self, body: Any) -> web.Response:
        if not isinstance(body, list):
            return web.json_response(await self._answer(body))
        if not 1 <= len(body) <= MAX_BATCH:
            return web.json_response(_refusal(None, -32600, f"a batch has 1 to {MAX_BATCH} requests"))
        return web.json_response([await self._answer(one) for one in body])

    async def _answer(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _refusal(None, -32600, "invalid request")
        named, params = request.get("id"), request.get("params") or []
        if not isinstance(params, list):
            return _refusal(named, -32602, "params is a list")
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._thread, self._methods.run, request["method"], params)
        except ChainError as error:
            return _refusal(named, error.code, str(error), error.data)
        except Exception:
            log.exception("%s failed", request["method"])
            return _refusal(named, -32603, "internal error")
        return {"jsonrpc": "2.0", "id": named, "result": result}


def _refusal(named: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": named, "error": error}


def dev_key(path: Path) -> PrivateKey:
    """The key that the dev chain's ether belongs to: read, or made and written with mode 0600."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return PrivateKey(bytes.fromhex(path.read_text().strip()))


async def serve(
    state: Path, port: int, *, host: str = "127.0.0.1", watch_stdin: bool = False, control_token: str = ""
) -> None:
    """Runs the chain of a directory until SIGTERM or SIGINT; prints one JSON line once it listens.

    There is no password: whoever reaches `host` may send transactions. With a `control_token` whoever knows it may
    ask for faults.
    Raises OSError when the port or the directory is taken.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OSError(f"Another embedded chain already runs in {state}; stop it first.") from error
        key_file = state / "dev.key"
        address = dev_key(key_file).public_key.to_canonical_address()
        thread = ThreadPoolExecutor(1, thread_name_prefix="blocks")
        blocks = Blocks(state / "chain.db", chain_id=CHAIN_ID, funded=address)
        app = web.Application(client_max_size=MAX_BODY)
        faults = ChainFaults(blocks, thread) if control_token else None
        app.router.add_post("/", Port(Methods(blocks), thread, faults).handle)
        if faults is not None:
            app.add_routes(control_routes(faults.rules, control_token))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if watch_stdin:
            _stop_when_stdin_closes(loop, stop)
        try:
            await runner.setup()
            site = web.TCPSite(runner, host, port)
            await site.start()
            bound = runner.addresses[0][1]
            ready = {
                "ready": True,
                "port": bound,
                "url": f"http://127.0.0.1:{bound}",
                "chain_id": CHAIN_ID,
                "block": blocks.head().block_number,
                "key_file": str(key_file),
                "address": octets(address),
                "notice": NOTICE,
            }
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
            await stop.wait()
        finally:
            await runner.cleanup()
            if faults is not None:
                await faults.close()
            thread.shutdown()
            blocks.close()


def _stop_when_stdin_closes(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """So that the chain does not outlive a supervisor that was killed."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, daemon=True).start()
