"""Rules for faults on demand: how often one strikes, how a request for one is read, and what has been done so far.

A development service says which faults it knows by subclasses of `Rule`; who may ask for them proves it by a token.
This file stands twice, byte for byte, in `contracts` and in `bot/demo/host`, which may not import each
other; a test compares them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import json
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError, model_validator

ROUTE = "/control/faults"
TOKEN_VARIABLE = "FLOCK_DEMO_CONTROL_TOKEN"  # noqa: S105  # where the token is, not the token
MOST_RULES = 100
MOST_SECONDS = 3600.0
_KEPT_SPENT = 20  # rules that have done all they were to do, for who looks later


class FaultError(Exception):
    """A request that cannot be done; the message is a sentence that says why."""


class Rule(BaseModel):
    """A fault, and how often it strikes: the next `count` times, or by chance, at a `rate` of what it might strike.

    Without either it strikes once; with a rate alone, until it is switched off. The same `seed` gives the same run.
    """

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    fault: str
    rate: float | None = Field(None, gt=0, le=1)
    count: int | None = Field(None, ge=1, le=1_000_000)
    seed: int = 0

    _id: int = PrivateAttr(0)
    _met: int = PrivateAttr(0)
    _done: int = PrivateAttr(0)
    _dice: random.Random = PrivateAttr()
    _released: asyncio.Event = PrivateAttr(default_factory=asyncio.Event)
    _holding: int = PrivateAttr(0)

    @model_validator(mode="after")
    def _settle(self) -> Rule:
        if self.rate is None and self.count is None:
            self.count = 1
        self._dice = random.Random(self.seed)  # noqa: S311  # dice that fall alike in every run
        return self

    @property
    def id(self) -> int:
        return self._id

    @property
    def spent(self) -> bool:
        """Whether it has struck as often as it was to."""
        return self.count is not None and self._done >= self.count

    def strikes(self) -> bool:
        """Whether it strikes what it has just met; counts both."""
        if self.spent:
            return False
        self._met += 1
        if self.rate is not None and self._dice.random() >= self.rate:
            return False
        self._done += 1
        return True

    async def hold(self, seconds: float | None) -> None:
        """Holds somebody up for so long, or until the rule is switched off."""
        self._holding += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._released.wait()
        finally:
            self._holding -= 1

    def look(self) -> dict[str, Any]:
        """The rule as JSON: what was asked for, what it has met and done, and whom it holds up now."""
        told = {"met": self._met, "done": self._done, "spent": self.spent, "holding": self._holding}
        return {"id": self.id, **self.model_dump(exclude_none=True), **told}


R = TypeVar("R", bound=Rule)


class Rules(Generic[R]):
    """The rules of a service. `kinds` reads one from JSON, `on_change` is told when one comes or goes."""

    def __init__(self, kinds: TypeAdapter[R], on_change: Callable[[], None] = lambda: None) -> None:
        self._kinds = kinds
        self._on_change = on_change
        self._rules: dict[int, R] = {}
        self._last = 0
        self._done: Counter[str] = Counter()

    def __iter__(self) -> Iterator[R]:
        return iter(tuple(self._rules.values()))

    def add(self, wanted: Any) -> R:
        """A new rule, from JSON. Raises FaultError."""
        try:
            rule = self._kinds.validate_python(wanted)
        except ValidationError as error:
            raise FaultError(f"That request cannot be read: {_sentence(error)}") from None
        self._forget_spent()
        if sum(not known.spent for known in self._rules.values()) >= MOST_RULES:
            raise FaultError(f"There are {MOST_RULES} faults already; switch some off first.")
        self._last += 1
        rule._id = self._last
        self._rules[rule.id] = rule
        self._on_change()
        return rule

    def off(self, which: Any = True) -> None:
        """Switches one rule off by its id, or all of them with True; whom they hold up goes on. Raises FaultError."""
        if which is not True and (isinstance(which, bool) or not isinstance(which, int) or which not in self._rules):
            raise FaultError("There is no fault with that id; `true` switches all of them off.")
        for rule in [*self._rules.values()] if which is True else [self._rules[which]]:
            rule._released.set()
            del self._rules[rule.id]
        self._on_change()

    def strike(self, applies: Callable[[R], bool]) -> R | None:
        """The first rule that applies and strikes, if any."""
        for rule in tuple(self._rules.values()):
            if not rule.spent and applies(rule) and rule.strikes():
                self._done[rule.fault] += 1
                return rule
        return None

    def look(self) -> dict[str, Any]:
        """All rules, and how often each kind of fault has struck since the service was started."""
        return {"faults": [rule.look() for rule in self._rules.values()], "done": dict(self._done)}

    def obey(self, body: Any) -> dict[str, Any]:
        """One request: `{"fault": …}` adds a rule, `{"off": true}` or `{"off": id}` takes away. Raises FaultError."""
        if not isinstance(body, dict):
            raise FaultError('That request cannot be read: want an object, such as {"fault": "slow"} or {"off": true}.')
        if set(body) == {"off"}:
            self.off(body["off"])
            return self.look()
        return {"id": self.add(body).id, **self.look()}

    def _forget_spent(self) -> None:
        spent = [rule for rule in self._rules.values() if rule.spent and not rule._holding]
        for rule in spent[:-_KEPT_SPENT]:
            del self._rules[rule.id]


def matches(pattern: str, text: str) -> bool:
    """Whether a text is as a pattern says: * stands for anything, ? for one character, [ab] for one of these."""
    return fnmatch.fnmatchcase(text, pattern)


def control_routes(rules: Rules[R], token: str) -> list[web.RouteDef]:
    """`GET` and `POST /control/faults` behind a token. Errors are `{"error": sentence}`."""
    if not token:
        raise ValueError("The control route needs a token.")

    async def handle(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        # A web page cannot send this header to us without a preflight, which we do not answer.
        if not secrets.compare_digest(given.encode(errors="replace"), f"Bearer {token}".encode()):
            return web.json_response({"error": "Wrong or missing token."}, status=401)
        if request.method == "GET":
            return web.json_response(rules.look())
        try:
            return web.json_response(rules.obey(json.loads(await request.read())))
        except (ValueError, RecursionError):
            return web.json_response({"error": "That request cannot be read: it is no JSON."}, status=400)
        except FaultError as error:
            return web.json_response({"error": str(error)}, status=400)

    return [web.get(ROUTE, handle), web.post(ROUTE, handle)]


def abort(request: web.Request) -> web.StreamResponse:
    """Cuts the connection as a cable would be; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    response = web.Response()
    response.force_close()
    return response


async def half(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Begins an answer and cuts the connection in the middle of it."""
    body = response.body if isinstance(response.body, bytes) else b""
    begun = web.StreamResponse(status=response.status, headers=response.headers)
    begun.content_length = max(2, len(body))
    await begun.prepare(request)
    await begun.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # after what was written
    return begun


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"][-1:])
    return f"{where}: {first['msg']}." if where else f"{first['msg']}."
