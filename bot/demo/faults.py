"""Rules for faults on demand: how often a fault strikes, how a request for one is read, and what has struck so far.

An embedded service says which faults it knows by subclasses of `Rule`; a client that asks for one proves itself by a
token. Must not import any of the services: each of them imports this module.
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
from typing import Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError, model_validator

ROUTE = "/control/faults"
TOKEN_VARIABLE = "FLOCK_DEMO_CONTROL_TOKEN"  # noqa: S105  # where the token is, not the token
MOST_RULES = 100
MOST_SECONDS = 3600.0
_KEPT_SPENT = 20  # rules that have struck as often as they were to, for whoever looks later


class FaultError(Exception):
    """A request for a fault that cannot be done; the message is a sentence that says why."""


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
    _chances: int = PrivateAttr(0)
    _strikes: int = PrivateAttr(0)
    _dice: random.Random = PrivateAttr()
    _released: asyncio.Event = PrivateAttr(default_factory=asyncio.Event)
    _holding: int = PrivateAttr(0)

    @model_validator(mode="after")
    def _complete(self) -> Rule:
        if self.rate is None and self.count is None:
            self.count = 1
        self._dice = random.Random(self.seed)  # noqa: S311  # dice that fall alike in every run
        return self

    @property
    def id(self) -> int:
        return self._id

    @property
    def is_spent(self) -> bool:
        """True once the rule has struck as often as it was to."""
        return self.count is not None and self._strikes >= self.count

    def strikes(self) -> bool:
        """Decide about one chance to strike, and count it."""
        if self.is_spent:
            return False
        self._chances += 1
        if self.rate is not None and self._dice.random() >= self.rate:
            return False
        self._strikes += 1
        return True

    async def hold(self, seconds: float | None) -> None:
        """Hold the caller up for so long, or until the rule is switched off."""
        self._holding += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._released.wait()
        finally:
            self._holding -= 1

    def look(self) -> dict[str, object]:
        """Return the rule as JSON: what was asked for, its chances and strikes, and how many it holds up now."""
        counts = {"met": self._chances, "done": self._strikes, "spent": self.is_spent, "holding": self._holding}
        return {"id": self.id, **self.model_dump(exclude_none=True), **counts}


R = TypeVar("R", bound=Rule)


class Rules(Generic[R]):
    """The rules of a service. `kinds` reads one from JSON; `on_change` is called when one comes or goes."""

    def __init__(self, kinds: TypeAdapter[R], on_change: Callable[[], None] = lambda: None) -> None:
        self._kinds = kinds
        self._on_change = on_change
        self._rules: dict[int, R] = {}
        self._last_id = 0
        self._strikes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[R]:
        return iter(tuple(self._rules.values()))

    def add(self, request: object) -> R:
        """Add a rule, read from parsed JSON. Raises FaultError."""
        try:
            rule = self._kinds.validate_python(request)
        except ValidationError as error:
            raise FaultError(f"That request cannot be read: {_sentence(error)}") from None
        self._forget_spent()
        if sum(not present.is_spent for present in self) >= MOST_RULES:
            raise FaultError(f"There are {MOST_RULES} faults already; switch some off first.")
        self._last_id += 1
        rule._id = self._last_id
        self._rules[rule.id] = rule
        self._on_change()
        return rule

    def off(self, rule_id: object = True) -> None:
        """Switch off one rule by its id, or all of them with True; callers that they hold up go on. Raises FaultError.

        `rule_id` comes from a request: anything but True and the id of a rule is an error.
        """
        if rule_id is True:
            ids = [*self._rules]
        elif isinstance(rule_id, int) and not isinstance(rule_id, bool) and rule_id in self._rules:
            ids = [rule_id]
        else:
            raise FaultError("There is no fault with that id; `true` switches all of them off.")
        for present in ids:
            self._rules.pop(present)._released.set()
        self._on_change()

    def strike(self, applies: Callable[[R], bool]) -> R | None:
        """Return the first rule that applies and strikes, if any."""
        for rule in self:
            if not rule.is_spent and applies(rule) and rule.strikes():
                self._strikes[rule.fault] += 1
                return rule
        return None

    def look(self) -> dict[str, object]:
        """Return all rules, and how often each kind of fault has struck since the service was started."""
        return {"faults": [rule.look() for rule in self], "done": dict(self._strikes)}

    def obey(self, body: object) -> dict[str, object]:
        """Carry out one request: `{"fault": …}` adds a rule, `{"off": true}` or `{"off": id}` takes away.

        Raises FaultError.
        """
        if not isinstance(body, dict):
            raise FaultError('That request cannot be read: want an object, such as {"fault": "slow"} or {"off": true}.')
        if set(body) == {"off"}:
            self.off(body["off"])
            return self.look()
        return {"id": self.add(body).id, **self.look()}

    def _forget_spent(self) -> None:
        spent_rules = [rule for rule in self if rule.is_spent and not rule._holding]
        for rule in spent_rules[:-_KEPT_SPENT]:
            del self._rules[rule.id]


def matches(pattern: str, text: str) -> bool:
    """Match a text with a pattern: * stands for anything, ? for one character, [ab] for one of these."""
    return fnmatch.fnmatchcase(text, pattern)


def control_routes(rules: Rules[R], token: str) -> list[web.RouteDef]:
    """Return `GET` and `POST /control/faults` behind a token. Errors are `{"error": sentence}`."""
    if not token:
        raise ValueError("The control route needs a token.")

    async def handle(request: web.Request) -> web.Response:
        # A web page cannot send this header to us without a preflight, which we do not answer.
        if not bears(request, token):
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


def bears(request: web.Request, token: str) -> bool:
    """True where a request bears the token in its Authorization header; takes as long whatever the token is."""
    header = request.headers.get("Authorization", "")
    return secrets.compare_digest(header.encode(errors="replace"), f"Bearer {token}".encode())


def abort(request: web.Request) -> web.StreamResponse:
    """Cut the connection as a pulled cable would; the response that is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    response = web.Response()
    response.force_close()
    return response


async def half(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Begin an answer, and cut the connection in the middle of it."""
    body = response.body if isinstance(response.body, bytes) else b""
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = max(2, len(body))
    await stream.prepare(request)
    await stream.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # after what was written
    return stream


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"][-1:])
    return f"{where}: {first['msg']}." if where else f"{first['msg']}."
