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
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from eth_keys.datatypes import PrivateKey

from bot.demo.chain.blocks import Blocks
from bot.demo.chain.blockstore import ChainError, octets
from bot.demo.chain.faults import ChainFaults
from bot.demo.chain.methods import NOTICE, Methods
from bot.demo.faults import control_routes
from bot.demo.service import ReadyLine, bind, port_of, serve_app

CHAIN_ID = 31_431
MAX_BODY = 4 * 1024 * 1024  # bytes
MAX_DEPTH = 100  # of nested lists and objects in a request
MAX_BATCH = 200

log = logging.getLogger(__name__)


def _parse(body: bytes) -> object:
    """Parse JSON of a sane depth. Raises ValueError.

    py-evm lets Python recurse so deep (for calls in calls) that nested brackets would overflow the stack and end us.
    """
    depth = 0
    for bracket in re.finditer(rb"[\[\]{}]", body):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
    parsed: object = json.loads(body)
    return parsed


class RpcServer:
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

    async def _carry_out(self, body: object) -> web.Response:
        if not isinstance(body, list):
            return web.json_response(await self._answer(body))
        if not 1 <= len(body) <= MAX_BATCH:
            return web.json_response(_refusal(None, -32600, f"a batch has 1 to {MAX_BATCH} requests"))
        return web.json_response([await self._answer(call) for call in body])

    async def _answer(self, call: object) -> dict[str, object]:
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            return _refusal(None, -32600, "invalid request")
        call_id, params = call.get("id"), call.get("params") or []
        if not isinstance(params, list):
            return _refusal(call_id, -32602, "params is a list")
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._thread, self._methods.run, call["method"], params)
        except ChainError as error:
            return _refusal(call_id, error.code, str(error), error.data)
        except Exception:
            log.exception("%s failed", call["method"])
            return _refusal(call_id, -32603, "internal error")
        return {"jsonrpc": "2.0", "id": call_id, "result": result}


def _refusal(call_id: object, code: int, message: str, data: str | None = None) -> dict[str, object]:
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": call_id, "error": error}


def dev_key(path: Path) -> PrivateKey:
    """Return the key that the dev chain's ether belongs to: read, or made and written with mode 0600."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return PrivateKey(bytes.fromhex(path.read_text().strip()))


@asynccontextmanager
async def open_chain(
    state: Path, port: int, *, host: str = "127.0.0.1", control_token: str = ""
) -> AsyncIterator[ReadyLine]:
    """Run the chain of a directory; yields its ready line.

    There is no password: whoever reaches `host` may send transactions. With a `control_token` whoever knows it may
    ask for faults. Raises OSError when the port or the directory is taken, ValueError when the directory holds
    another chain.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(state):
        key_file = state / "dev.key"
        address = dev_key(key_file).public_key.to_canonical_address()
        thread = ThreadPoolExecutor(1, thread_name_prefix="blocks")
        blocks = Blocks(state / "chain.db", chain_id=CHAIN_ID, funded=address)
        faults = ChainFaults(blocks, thread) if control_token else None
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/", RpcServer(Methods(blocks), thread, faults).handle)
        if faults is not None:
            app.add_routes(control_routes(faults.rules, control_token))
        runner: web.AppRunner | None = None
        try:
            listener = bind(host, port)
            runner = await serve_app(app, listener, shutdown_s=2.0)
            yield {
                "ready": True,
                "port": port_of(listener),
                "url": f"http://127.0.0.1:{port_of(listener)}",
                "chain_id": CHAIN_ID,
                "block": blocks.head().block_number,
                "key_file": str(key_file),
                "address": octets(address),
                "notice": NOTICE,
            }
        finally:
            if runner is not None:
                await runner.cleanup()
            if faults is not None:
                await faults.close()
            thread.shutdown()
            blocks.close()


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Keep other processes out of a directory. Raises OSError when one is in it."""
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OSError(f"Another embedded chain already runs in {state}; stop it first.") from error
        yield
