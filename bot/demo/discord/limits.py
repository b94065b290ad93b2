"""Rate limits as Discord states them: a bucket for each route and major id, one for the bot, headers on all answers.

Windows are fixed, as Discord's are: a bucket that is empty is full again when its window ends.
https://discord.com/developers/docs/topics/rate-limits
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

# (method, path pattern, requests, seconds); the first group is the major id, whose buckets are separate.
_RULES: list[tuple[str, re.Pattern[str], int, float]] = [
    ("POST", re.compile(r"/channels/(\d+)/messages"), 5, 5.0),
    ("PATCH", re.compile(r"/channels/(\d+)/messages/\d+"), 5, 5.0),
    ("DELETE", re.compile(r"/channels/(\d+)/messages/\d+"), 5, 1.0),
    ("GET", re.compile(r"/channels/(\d+)/messages(?:/\d+)?"), 10, 5.0),
    ("*", re.compile(r"/channels/(\d+)/messages/\d+/reactions/.*"), 4, 1.0),
    ("POST", re.compile(r"/channels/(\d+)/(?:messages/\d+/)?threads"), 10, 10.0),
    ("PATCH", re.compile(r"/channels/(\d+)"), 10, 15.0),
    ("*", re.compile(r"/webhooks/\d+/([^/]+)(?:/.*)?"), 5, 2.0),
]
_DEFAULT = (30, 10.0)
GLOBAL = (50, 1.0)
_CALLBACK = re.compile(r"/interactions/\d+/[^/]+/callback")
# Interactions and their webhooks are not bound to the bot's global limit.
_NOT_GLOBAL = re.compile(r"/(?:interactions|webhooks)/\d+/[^/]+(?:/.*)?")
MOST_INVALID = (10_000, 600.0)  # answers 401, 403 and 429 before the address is shut out
_MOST_BUCKETS = 10_000


@dataclass(frozen=True)
class Verdict:
    """The decision about a request, and the headers of its answer."""

    allowed: bool
    headers: dict[str, str]
    retry_after: float = 0.0
    is_global: bool = False
    banned: bool = False  # by the edge, before the API: no JSON, no `Via`


@dataclass
class _Window:
    ends: float = 0.0
    requests: int = 0

    def wait(self, now: float, limit: int, seconds: float) -> float:
        """Return the seconds until another request may come; 0.0 for now."""
        if now >= self.ends:
            self.ends, self.requests = now + seconds, 0
        return 0.0 if self.requests < limit else self.ends - now


class Limits:
    """The counters of the bot's requests."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        most_invalid: tuple[int, float] = MOST_INVALID,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        """`epoch` returns the time that the headers state, in seconds since 1970."""
        self._clock = clock
        self._epoch = epoch
        self._windows: dict[str, _Window] = {}
        self._all = _Window()
        self._most_invalid, self._invalid_s = most_invalid
        self._invalid: deque[float] = deque(maxlen=self._most_invalid)

    def check(self, method: str, path: str) -> Verdict:
        """Count one request, unless it is refused."""
        now = self._clock()
        if self.shut_out:
            return Verdict(False, {}, banned=True)
        if _CALLBACK.fullmatch(path):
            return Verdict(True, {})
        is_global = not _NOT_GLOBAL.fullmatch(path)
        if is_global and (retry := _up(self._all.wait(now, *GLOBAL))):
            headers = {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}
            return Verdict(False, {**headers, "Retry-After": str(math.ceil(retry))}, retry, is_global=True)
        bucket, major, limit, seconds = _rule(method, path)
        window = self._window(f"{bucket}:{major}", now)
        retry = _up(window.wait(now, limit, seconds))
        if not retry:
            window.requests += 1
            self._all.requests += is_global
        after = max(0.0, window.ends - now)
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - window.requests)),
            "X-RateLimit-Reset": f"{self._epoch() + after:.3f}",
            "X-RateLimit-Reset-After": f"{_up(after):.3f}",
            "X-RateLimit-Bucket": hashlib.sha256(bucket.encode()).hexdigest()[:32],
        }
        if retry:
            headers |= {"Retry-After": str(math.ceil(retry)), "X-RateLimit-Scope": "user"}
        return Verdict(not retry, headers, retry)

    def exhaust(self, method: str, path: str, seconds: float, *, everywhere: bool = False) -> None:
        """Empty the bucket of a request, or the global one, for so long: as if other requests had used it up."""
        now = self._clock()
        bucket, major, limit, _ = _rule(method, path)
        window = self._all if everywhere else self._window(f"{bucket}:{major}", now)
        window.ends, window.requests = now + seconds, GLOBAL[0] if everywhere else limit

    @property
    def shut_out(self) -> bool:
        """True after too many invalid requests from this address, whichever client sent them."""
        full = len(self._invalid) == self._most_invalid
        return full and self._clock() - self._invalid[0] < self._invalid_s

    def note(self, status: int) -> None:
        """Remember an answer's status: too many invalid requests shut an address out."""
        if status in {401, 403, 429}:
            self._invalid.append(self._clock())

    def _window(self, key: str, now: float) -> _Window:
        if len(self._windows) > _MOST_BUCKETS:
            self._windows = {name: window for name, window in self._windows.items() if window.ends > now}
        return self._windows.setdefault(key, _Window())


def _rule(method: str, path: str) -> tuple[str, str, int, float]:
    for index, (verb, pattern, limit, seconds) in enumerate(_RULES):
        match = pattern.fullmatch(path)
        if match and verb in {"*", method}:
            return str(index), match[1], limit, seconds
    major = re.match(r"/(?:channels|guilds)/(\d+)", path)
    template = re.sub(r"\d{5,}", "{id}", path)
    return f"{method}:{template}", major[1] if major else "", *_DEFAULT


def _up(seconds: float) -> float:
    """Round up to milliseconds, so that no client comes back a moment too early."""
    return math.ceil(seconds * 1000) / 1000
