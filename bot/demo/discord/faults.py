"""Faults that the embedded Discord can be told to have: of its REST API, of its gateway, and of its clock.

What a client sees is what Discord would send it: https://discord.com/developers/docs/topics/rate-limits for 429, an
HTML page of the edge for 413 and 502 to 504. How often a fault strikes is decided by `bot.demo.faults`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, TypeAdapter, model_validator

from bot.demo.discord.limits import Limits
from bot.demo.faults import FaultError, Rule, Rules, abort, half, matches

MOST_SHIFT_S = 366 * 86_400.0
_TOO_LARGE = {40005: ("Request entity too large", 413), 50045: ("File uploaded exceeds the maximum size", 400)}
_CALLBACK = re.compile(r"/interactions/\d+/[^/]+/callback")  # the only requests that Discord does not limit


class FileRefusedError(Exception):
    """A request holds a file of more bytes than a fault lets pass."""


class RestFault(Rule):
    """A fault of the REST API, for requests of a `method` to a `path` below /api/v10, with * for anything.

    rate_limit   empties the route's bucket, or with `everywhere` the global one, for `seconds`: 429 until then
    error        answers `status` (500, 502, 503, 504)
    slow         takes `seconds`
    cut          cuts the connection
    too_large    refuses files of more than `bytes`, as `code` has it: 40005 (413), 50045 (400), or 0 for a proxy's page

    `after`: the request is carried out all the same, and only then comes the fault.
    """

    fault: Literal["rate_limit", "error", "slow", "cut", "too_large"]
    method: str = Field("*", max_length=20)
    path: str = Field("*", max_length=200)
    after: bool = False
    everywhere: bool = False
    seconds: float = Field(1.0, gt=0, le=60)
    status: Literal[500, 502, 503, 504] = 503
    bytes: int = Field(0, ge=0)
    code: Literal[0, 40005, 50045] = 40005

    @model_validator(mode="after")
    def _check(self) -> RestFault:
        if self.fault in {"rate_limit", "too_large"} and self.after:
            raise ValueError("a request that is refused has no effect, so `after` makes no sense")
        if self.everywhere and self.fault != "rate_limit":
            raise ValueError("only a rate_limit can be everywhere")
        return self

    def applies(self, method: str, path: str) -> bool:
        if self.fault == "rate_limit" and _CALLBACK.fullmatch(path):
            return False
        return matches(self.method, method) and matches(self.path, path)


class AnswerFault(Rule):
    """A wrong answer of the REST API, to requests as of a `RestFault`.

    refuse       `status` (400 to 429) with Discord's `code` and `message`; with `page`, the HTML page of the edge
    garble       200 with a `body` that Discord would never send

    `after`: the request is carried out all the same.
    """

    fault: Literal["refuse", "garble"]
    method: str = Field("*", max_length=20)
    path: str = Field("*", max_length=200)
    after: bool = False
    status: int = Field(400, ge=400, le=429)
    code: int = Field(0, ge=0, le=1_000_000)
    message: str = Field("It is refused.", max_length=200)
    page: bool = False
    body: str = Field('"OK"', max_length=200)

    def applies(self, method: str, path: str) -> bool:
        return matches(self.method, method) and matches(self.path, path)

    def response(self) -> web.Response:
        """Return the answer. A 429 lacks the `retry_after` on which clients count."""
        if self.fault == "refuse" and self.page:
            return _page(self.status)
        refusal = json.dumps({"message": self.message, "code": self.code})
        body, status = (refusal, self.status) if self.fault == "refuse" else (self.body, 200)
        # Exactly application/json: discord.py parses nothing else.
        headers = {"Via": "1.1 embedded", "Content-Type": "application/json"}
        return web.Response(status=status, body=body.encode(), headers=headers)


class GatewayFault(Rule):
    """A fault of the gateway when an event, such as INTERACTION_CREATE or MESSAGE_*, is due to a session.

    duplicate    the event is sent twice
    reorder      the event is sent after the one that follows it, or after `seconds` when none does
    drop         the connection is closed before the event; a resume sends it
    reconnect    the gateway asks the bot to connect anew (operation 7), and then sends it
    invalidate   the session is forgotten, and the event with it: the bot has to identify anew
    """

    fault: Literal["duplicate", "reorder", "drop", "reconnect", "invalidate"]
    event: str = Field("*", max_length=100)
    seconds: float = Field(1.0, gt=0, le=60)


Fault = RestFault | AnswerFault | GatewayFault


class DiscordFaults:
    """The faults that are asked for now. `shift` moves the clock by so many seconds from the true time."""

    def __init__(self, limits: Limits, shift: Callable[[float], None] = lambda _: None) -> None:
        kinds: TypeAdapter[Fault] = TypeAdapter(Annotated[Fault, Field(discriminator="fault")])
        self._rules: Rules[Fault] = Rules(kinds)
        self._limits = limits
        self._shift = shift
        self.clock_s = 0.0

    def look(self) -> dict[str, object]:
        """Return all faults, and the error of the clock, as JSON."""
        return {**self._rules.look(), "clock_s": self.clock_s}

    def obey(self, body: object) -> dict[str, object]:
        """Carry out one request: as `Rules.obey`, or `{"clock_s": seconds}`. Raises FaultError."""
        if isinstance(body, dict) and set(body) == {"clock_s"}:
            self._set_clock(body["clock_s"])
            return self.look()
        result = self._rules.obey(body)
        if body == {"off": True}:
            self._set_clock(0.0)
        return {**result, **self.look()}

    def _set_clock(self, seconds: object) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not abs(seconds) <= MOST_SHIFT_S:
            raise FaultError("clock_s is a number of seconds, of a year at most, before (-) or after the true time.")
        self.clock_s = float(seconds)
        self._shift(self.clock_s)

    # ------------------------------------------------------------------ REST

    def limit(self, method: str, path: str) -> None:
        """Empty the bucket of a request that has just come; the limits then refuse it by themselves."""
        rule = self._strike(method, path, limits=True)
        if isinstance(rule, RestFault):
            self._limits.exhaust(method, path, rule.seconds, everywhere=rule.everywhere)

    def rest(self, method: str, path: str) -> RestFault | AnswerFault | None:
        """Return the fault that strikes a request which the limits have let through."""
        return self._strike(method, path, limits=False)

    def _strike(self, method: str, path: str, *, limits: bool) -> RestFault | AnswerFault | None:
        rule = self._rules.strike(
            lambda rule: (
                isinstance(rule, RestFault | AnswerFault)
                and (rule.fault == "rate_limit") is limits
                and rule.applies(method, path)
            )
        )
        return rule if isinstance(rule, RestFault | AnswerFault) else None

    # ------------------------------------------------------------------ gateway

    def gateway(self, event: str) -> GatewayFault | None:
        """Return the fault that strikes this event on its way to a session."""
        rule = self._rules.strike(lambda rule: isinstance(rule, GatewayFault) and matches(rule.event, event))
        return rule if isinstance(rule, GatewayFault) else None


async def suffer(
    rule: RestFault | AnswerFault, request: web.Request, do: Callable[[], Awaitable[web.Response]]
) -> web.StreamResponse:
    """Answer a request as the fault will have it; `do` carries it out."""
    if rule.fault == "slow" and not rule.after:
        await asyncio.sleep(rule.seconds)
        return await do()
    answer = await do() if rule.after else None
    if isinstance(rule, AnswerFault):
        return rule.response()
    if rule.fault == "slow":
        await asyncio.sleep(rule.seconds)
    elif rule.fault == "cut":
        return await half(request, answer) if answer is not None else abort(request)
    else:
        return failure(rule.status)
    assert answer is not None  # noqa: S101  # it was carried out before the wait
    return answer


def refusal(code: int) -> web.Response:
    """Return Discord's answer to a file that is too large, or with code 0 that of a proxy before it."""
    if code == 0:
        return failure(413)
    message, status = _TOO_LARGE[code]
    headers = {"Via": "1.1 embedded", "Content-Type": "application/json"}  # exactly so: discord.py parses nothing else
    return web.Response(status=status, body=json.dumps({"message": message, "code": code}), headers=headers)


def failure(status: int) -> web.Response:
    """Return an error of Discord's own: JSON from the API (500), a page from the edge before it (all others)."""
    if status == 500:
        body = '{"message": "500: Internal Server Error", "code": 0}'
        return web.Response(status=500, text=body, content_type="application/json", headers={"Via": "1.1 embedded"})
    return _page(status)


def _page(status: int) -> web.Response:
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1>cloudflare</body></html>"
    return web.Response(status=status, text=page, content_type="text/html")
