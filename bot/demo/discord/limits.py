"""Rate limits as Discord states them: a bucket a route and major id, one for the bot as a whole, headers on all."""

from __future__ import annotations

import hashlib
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
_EXEMPT = re.compile(r"/interactions/\d+/[^/]+/callback")


@dataclass(frozen=True)
class Verdict:
    """Whether a request may pass, and what its answer's headers say."""

    allowed: bool
    headers: dict[str, str]
    retry_after: float = 0.0
    is_global: bool = False


class Limits:
    """Counts the bot's requests. `scale` below 1 makes every limit tighter, for tests of patience."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, deque[float]] = {}
        self._all: deque[float] = deque()

    def check(self, method: str, path: str) -> Verdict:
        """Counts one request, unless it is refused."""
        if _EXEMPT.fullmatch(path):
            return Verdict(True, {})
        now = self._clock()
        if retry := _wait(self._all, now, *GLOBAL):
            headers = {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global", "Retry-After": str(_up(retry))}
            return Verdict(False, headers, retry, True)
        key, limit, seconds = _rule(method, path)
        used = self._buckets.setdefault(key, deque())
        retry = _wait(used, now, limit, seconds)
        if not retry:
            used.append(now)
            self._all.append(now)
        after = max(0.0, used[0] + seconds - now) if used else seconds
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - len(used))),
            "X-RateLimit-Reset": f"{time.time() + after:.3f}",
            "X-RateLimit-Reset-After": f"{after:.3f}",
            "X-RateLimit-Bucket": hashlib.sha256(key.encode()).hexdigest()[:32],
        }
        if retry:
            headers |= {"Retry-After": str(_up(retry)), "X-RateLimit-Scope": "user"}
            return Verdict(False, headers, retry)
        if len(self._buckets) > 10_000:
            self._buckets = {k: v for k, v in self._buckets.items() if v and now - v[-1] < 60}
        return Verdict(True, headers)


def _wait(used: deque[float], now: float, limit: int, seconds: float) -> float:
    while used and now - used[0] >= seconds:
        used.popleft()
    return 0.0 if len(used) < limit else used[0] + seconds - now


def _rule(method: str, path: str) -> tuple[str, int, float]:
    for index, (verb, pattern, limit, seconds) in enumerate(_RULES):
        match = pattern.fullmatch(path)
        if match and verb in {"*", method}:
            return f"{index}:{match[1]}", limit, seconds
    template = re.sub(r"\d{5,}", "{id}", path)
    return f"{method}:{template}", *_DEFAULT


def _up(seconds: float) -> float:
    """Never tells a client to come back a moment too early."""
    return round(seconds + 0.001, 3)
