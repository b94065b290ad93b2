"""Faults that the embedded chain can be told to have, as a provider's node has them. For tests and curious people.

The control route, `/control/faults` on the chain's own port, exists only where FLOCK_DEMO_CONTROL_TOKEN is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, TypeAdapter, model_validator

from bot.demo.chain.blocks import Blocks
from bot.demo.faults import MOST_SECONDS, Rule, Rules, abort, half, matches


class CallFault(Rule):
    """A fault of JSON-RPC requests whose `method`, such as eth_sendRawTransaction or eth_get*, matches.

    rpc_error    answers a JSON-RPC error of this `code` and `message` ("nonce too low", -32000, unless given)
    http_error   answers `status` (429, 500, 502, 503) to the whole POST
    slow         takes `seconds`
    cut          cuts the connection

    `after`: the request is carried out all the same, and only then comes the fault: a transaction that was accepted,
    whose sender does not learn of it.
    """

    fault: Literal["rpc_error", "http_error", "slow", "cut"]
    method: str = Field("*", max_length=100)
    after: bool = False
    seconds: float = Field(1.0, gt=0, le=60)
    status: Literal[429, 500, 502, 503] = 502
    code: int = Field(-32000, ge=-99_999, le=-1)
    message: str = Field("nonce too low", min_length=1, max_length=200)


class MiningFault(Rule):
    """pause_mining: transactions are accepted and wait in memory, until it is switched off or `seconds` have passed."""

    fault: Literal["pause_mining"]
    seconds: float = Field(MOST_SECONDS, gt=0, le=MOST_SECONDS)

    @model_validator(mode="after")
    def _check(self) -> MiningFault:
        if self.rate is not None or self.count != 1:
            raise ValueError("a pause of mining begins at once and ends after `seconds`; it has no rate and no count")
        return self


class ChainFaults:
    """The faults that are asked for now, over blocks that belong to one thread."""

    def __init__(self, blocks: Blocks, thread: ThreadPoolExecutor) -> None:
        kinds: TypeAdapter[CallFault | MiningFault] = TypeAdapter(
            Annotated[CallFault | MiningFault, Field(discriminator="fault")]
        )
        self.rules: Rules[CallFault | MiningFault] = Rules(kinds, self._begin_pause)
        self._blocks = blocks
        self._thread = thread
        self._pause: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Forget about pauses; nothing is mined any more."""
        if self._pause is not None:
            self._pause.cancel()
            await asyncio.gather(self._pause, return_exceptions=True)

    def _begin_pause(self) -> None:
        if self._pause is None or self._pause.done():
            rule = self.rules.strike(lambda rule: isinstance(rule, MiningFault))
            if rule is not None:
                self._pause = asyncio.create_task(self._pause_mining(rule), name="pause of mining")

    async def _pause_mining(self, rule: CallFault | MiningFault) -> None:
        self._blocks.paused = True
        try:
            await rule.hold(rule.seconds)
        finally:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._blocks.resume)
        asyncio.get_running_loop().call_soon(self._begin_pause)  # another pause may have been asked for meanwhile

    async def answer(
        self, request: web.Request, body: object, do: Callable[[], Awaitable[web.Response]]
    ) -> web.StreamResponse:
        """Answer a POST of one or many calls, as a fault will have it; `do` carries it out."""
        calls: list[object] = body if isinstance(body, list) else [body]
        methods = [str(call.get("method")) for call in calls if isinstance(call, dict)]
        rule = self.rules.strike(
            lambda rule: isinstance(rule, CallFault) and any(matches(rule.method, method) for method in methods)
        )
        if not isinstance(rule, CallFault):
            return await do()
        if rule.fault == "slow" and not rule.after:
            await asyncio.sleep(rule.seconds)
            return await do()
        answer = await do() if rule.after else None
        if rule.fault == "slow" and answer is not None:
            await asyncio.sleep(rule.seconds)
            return answer
        if rule.fault == "cut":
            return await half(request, answer) if answer is not None else abort(request)
        if rule.fault == "http_error":
            headers = {"Retry-After": "1"} if rule.status == 429 else {}
            return web.Response(status=rule.status, text=f"{rule.status}", headers=headers)
        refusals = [_refusal(call, rule) for call in calls]
        return web.json_response(refusals if isinstance(body, list) else refusals[0])


def _refusal(call: object, rule: CallFault) -> dict[str, object]:
    call_id = call.get("id") if isinstance(call, dict) else None
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": rule.code, "message": rule.message}}
