"""Faults that the host can be told to have while it runs: of its API, of uploads, and of the preparation of videos.

The control route, `/control/faults`, exists only where FLOCK_DEMO_CONTROL_TOKEN is set. Everything else stays
Livepeer's wire format, errors included.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, TypeAdapter

from bot.demo.faults import MOST_SECONDS, Rule, Rules, abort, half, matches

Stage = Literal["uploading", "waiting", "processing"]


class AnswerFault(Rule):
    """A fault of requests of a `method` to a `path`, such as /api/asset/*, with * for anything.

    error   answers `status` (429, 500, 502, 503)
    slow    takes `seconds`
    cut     cuts the connection

    `after`: the request is carried out all the same, and only then comes the fault.
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
    """A fault of an asset on its way from uploading to ready.

    stick   it stays in a `phase` (uploading, waiting, processing) for `seconds`, or until the rule is switched off
    fail    its processing ends in the phase failed, with a `message`
    """

    fault: Literal["stick", "fail"]
    phase: Stage = "processing"
    seconds: float = Field(MOST_SECONDS, gt=0, le=MOST_SECONDS)
    message: str = Field("internal error processing file", min_length=1, max_length=200)


Fault = AnswerFault | UploadFault | PhaseFault


class HostFaults:
    """The faults that the control route was asked for."""

    def __init__(self) -> None:
        kinds: TypeAdapter[Fault] = TypeAdapter(Annotated[Fault, Field(discriminator="fault")])
        self.rules: Rules[Fault] = Rules(kinds)

    async def answer(
        self, request: web.Request, do: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer a request as a fault will have it; `do` carries it out."""
        rule = self.rules.strike(
            lambda rule: (
                isinstance(rule, AnswerFault)
                and matches(rule.method, request.method)
                and matches(rule.path, request.path)
            )
        )
        if not isinstance(rule, AnswerFault):
            return await do(request)
        if rule.fault == "slow" and not rule.after:
            await asyncio.sleep(rule.seconds)
            return await do(request)
        response = await do(request) if rule.after else None
        if response is not None and response.prepared:  # a file: it has left already
            return response
        if rule.fault == "slow" and response is not None:
            await asyncio.sleep(rule.seconds)
            return response
        if rule.fault == "cut":
            return await half(request, response) if isinstance(response, web.Response) else abort(request)
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

    def cuts_upload(self, received: int) -> bool:
        """Decide if the connection of an upload is to be cut, now that so many bytes have come."""
        return self.rules.strike(lambda rule: isinstance(rule, UploadFault) and received >= rule.bytes) is not None

    def sticks(self, phase: Stage) -> PhaseFault | None:
        """Return the fault that is to hold an asset in a phase that it has come to."""
        rule = self.rules.strike(
            lambda rule: isinstance(rule, PhaseFault) and rule.fault == "stick" and rule.phase == phase
        )
        return rule if isinstance(rule, PhaseFault) else None

    async def hold(self, phase: Stage) -> None:
        """Wait while a fault holds an asset in this phase."""
        if (rule := self.sticks(phase)) is not None:
            await rule.hold(rule.seconds)

    def failure(self) -> str | None:
        """Return the message with which the processing of an asset is to fail, if it is to."""
        rule = self.rules.strike(lambda rule: isinstance(rule, PhaseFault) and rule.fault == "fail")
        return rule.message if isinstance(rule, PhaseFault) else None
