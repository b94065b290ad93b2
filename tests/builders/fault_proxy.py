"""A node with faults between a client and a real one: the embedded chain's own faults, and those of another node.

It looks wholly like a node at its own port. What is asked of it is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

from bot.demo.chain.faults import ChainFaults
from bot.demo.faults import Rule, abort


class FaultProxy:
    """`add` a fault of `bot.demo.chain.faults`, or set one of the fields; None and False are a node that is well.

    `arrived` is awaited after each transaction that the real node took, before its sender may learn of it.
    """

    def __init__(self, upstream: str, arrived: Callable[[], Awaitable[None]] | None = None) -> None:
        self.upstream = upstream
        self.arrived = arrived
        self.faults = ChainFaults(None, None)  # type: ignore[arg-type]  # those two are for pauses of mining alone
        self.seen: Counter[str] = Counter()
        self.lied: set[str] = set()  # about what, since it was last healed
        self.chain_id: int | None = None
        self.web_page = False
        self.down = False
        self.stale: int | None = None  # the block that it takes for the latest
        self.late_s = 0  # how much older its blocks look
        self.refusal: tuple[str, bytes] | None = None  # what it says instead of an estimate of calls that begin so
        self.url = ""

    async def __aenter__(self) -> FaultProxy:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    def add(self, fault: str, **more: Any) -> Rule:
        added: Rule = self.faults.rules.add({"fault": fault, **more})
        return added

    def heal(self) -> None:
        self.faults.rules.off()
        self.chain_id = self.stale = self.refusal = None
        self.web_page = self.down = False
        self.late_s = 0
        self.lied.clear()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = await request.json()
        self.seen[call["method"]] += 1
        if self.down:
            return abort(request)
        if self.web_page:
            return web.Response(text="<html>Just a moment…</html>", content_type="text/html")
        return await self.faults.answer(request, call, lambda: self._forward(call))

    async def _forward(self, call: dict[str, Any]) -> web.Response:
        if self.chain_id is not None and call["method"] == "eth_chainId":
            self.lied.add("wrong chain id")
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": hex(self.chain_id)})
        if self.refusal is not None and call["method"] == "eth_estimateGas":
            words, begin = self.refusal
            if str(call["params"][0].get("data") or call["params"][0].get("input")).startswith("0x" + begin.hex()):
                self.lied.add(words)
                return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": _reverted(words)})
        if self.stale is not None:
            if call["method"] in ("eth_estimateGas", "eth_call") and len(call["params"]) == 1:
                call = {**call, "params": [*call["params"], "latest"]}
            call = json.loads(json.dumps(call).replace('"latest"', f'"{hex(self.stale)}"'))
        async with self._session.post(self.upstream, json=call) as response:
            told = await response.json()
        if self.arrived is not None and call["method"] == "eth_sendRawTransaction" and "result" in told:
            await self.arrived()
        if self.stale is not None:
            told = _as_then(call["method"], told, self.stale)
            self.lied.add("stale head")
        if self.late_s and call["method"] == "eth_getBlockByNumber":
            told["result"]["timestamp"] = hex(int(told["result"]["timestamp"], 16) - self.late_s)
        return web.json_response(told)


def _reverted(words: str) -> dict[str, Any]:
    """What a node says of a call that the contract reverts with these words."""
    said = len(words).to_bytes(32, "big") + words.encode().ljust(-(-len(words) // 32) * 32, b"\0")
    data = "0x08c379a0" + (32).to_bytes(32, "big").hex() + said.hex()
    return {"code": 3, "message": f"execution reverted: {words}", "data": data}


def _as_then(method: str, told: dict[str, Any], block: int) -> dict[str, Any]:
    """What a node says that knows no later block."""
    result = told.get("result")
    if method == "eth_blockNumber":
        return {**told, "result": hex(block)}
    if method == "eth_getBlockByNumber" and result and int(result["number"], 16) > block:
        return {**told, "result": None}
    if method == "eth_getTransactionReceipt" and result and int(result["blockNumber"], 16) > block:
        return {**told, "result": None}
    return told
