"""Faults that the host can be told to have while it runs: of its API, of uploads, and of what it makes of videos.

The control route, `/control/faults`, exists only where FLOCK_DEMO_CONTROL_TOKEN is set. Everything else stays
Livepeer's wire format, errors included.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field, TypeAdapter

from bot.demo.faults import MOST_SECONDS, Rule, Rules, abort, half, matches

Stage = Literal["uploading", "waiting", "processing"]


class AnswerFault(Rule):
    """A fault of requests of a `method` to a `path`, such as /api/asset/*, with * for anything.

    error   answers `status` (429, 500, 502, 503)
    slow    takes `seconds`
    cut     cuts the connection

    `after`: what was asked for is done all the same, and only then comes the fault.
    """

    fault: Literal["error", "slow", "cut"]
    method: str = Field("*", max_length=20)
    path: str = Field("*", max_length=200)
    after: bool = False
    seconds: float = Field(1.0, gt=0, le=60)
    status: Literal[429, 500, 502, 503] = 503


class UploadFault(Rule):
    """cut_upload: the connection that sends a file is cut after so many `bytes`; they are kept, as TUS has it."""

    fault: Literal["cut_upload"]
    bytes: int = Field(1024, ge=1, le=2**40)


class PhaseFault(Rule):
    """What becomes of an asset.

    stick   it stays in a `phase` (uploading, waiting, processing) for `seconds`, or until that is switched off
    fail    its processing ends in the phase failed, with a `message`
    """

    fault: Literal["stick", "fail"]
    phase: Stage = "processing"
    seconds: float = Field(MOST_SECONDS, gt=0, le=MOST_SECONDS)
    message: str = Field("internal error processing file", min_length=1, max_length=200)


class HostFaults:
    """All that is out of order now."""

    def __init__(self) -> None:
        kinds = Annotated[AnswerFault | UploadFault | PhaseFault, Field(discriminator="fault")]
        self.rules: Rules[Any] = Rules(TypeAdapter(kinds))

    async def answer(
        self, request: web.Request, do: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answers a request as a fault will have it; `do` does what was asked for."""
        rule: AnswerFault | None = self.rules.strike(
            lambda known: (
                isinstance(known, AnswerFault)
                and matches(known.method, request.method)
                and matches(known.path, request.path)
            )
        )
        if rule is None:
            return await do(request)
        if rule.fault == "slow" and not rule.after:
            await asyncio.sleep(rule.seconds)
            return await do(request)
        done = await do(request) if rule.after else None
        if done is not None and done.prepared:  # a file: it has left already
            return done
        if rule.fault == "slow" and done is not None:
            await asyncio.sleep(rule.seconds)
            return done
        if rule.fault == "cut":
            return await half(request, done) if isinstance(done, web.Response) else abort(request)
        headers = {"Retry-After": "1"} if rule.status == 429 else {}
        sentence = "too many requests" if rule.status == 429 else "Internal server error"
        refusal = web.Response(
            status=rule.status,
            text=json.dumps({"errors": [sentence]}),
            content_type="application/json",
            headers=headers,
        )
        refusal.force_close()  # the rest of a body may not have been read
        return refusal

    def cuts(self, received: int) -> bool:
        """Whether the connection of an upload is to be cut, now that so many bytes have come."""
        return self.rules.strike(lambda known: isinstance(known, UploadFault) and received >= known.bytes) is not None

    def sticks(self, phase: Stage) -> PhaseFault | None:
        """The fault that is to hold an asset in a phase that it has come to."""
        found: PhaseFault | None = self.rules.strike(
            lambda known: isinstance(known, PhaseFault) and known.fault == "stick" and known.phase == phase
        )
        return found

    async def hold(self, phase: Stage) -> None:
        """Returns when nothing holds an asset in this phase (any more)."""
        if (rule := self.sticks(phase)) is not None:
            await rule.hold(rule.seconds)

    def failure(self) -> str | None:
        """The message with which the processing of an asset is to fail."""
        rule: PhaseFault | None = self.rules.strike(
            lambda known: isinstance(known, PhaseFault) and known.fault == "fail"
        )
        return rule.message if rule is not None else None
