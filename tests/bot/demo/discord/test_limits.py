"""Rate limits: windows, buckets, the global limit and the ban."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.demo.discord.limits import Limits

POST, EDIT = "/channels/1/messages", "/channels/1/messages/2"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_empties_and_fills_at_once() -> None:
    """Five edits pass, the sixth is told when to come back, and then five pass again."""
    clock = Clock()
    limits = Limits(clock)
    for left in (4, 3, 2, 1, 0):
        verdict = limits.check("PATCH", EDIT)
        assert verdict.allowed
        assert verdict.headers["X-RateLimit-Remaining"] == str(left)
        clock.now += 0.1
    refused = limits.check("PATCH", EDIT)
    assert not refused.allowed
    assert 4.4 < refused.retry_after <= 4.501
    assert refused.headers["Retry-After"] == "5"
    assert refused.headers["X-RateLimit-Scope"] == "user"
    clock.now += refused.retry_after
    assert [limits.check("PATCH", EDIT).allowed for _ in range(6)] == [True] * 5 + [False]


def test_buckets_are_apart() -> None:
    """Another channel, and another kind of request, have their own room; a bucket's name tells kinds, not channels."""
    limits = Limits(Clock())
    for _ in range(5):
        first = limits.check("POST", POST)
    assert not limits.check("POST", POST).allowed
    other = limits.check("POST", "/channels/2/messages")
    assert other.allowed
    assert other.headers["X-RateLimit-Bucket"] == first.headers["X-RateLimit-Bucket"]
    edit = limits.check("PATCH", EDIT)
    assert edit.allowed
    assert edit.headers["X-RateLimit-Bucket"] != first.headers["X-RateLimit-Bucket"]


def test_the_global_limit() -> None:
    """Fifty requests a second pass in all; interactions go on beyond them, and all is well a second later."""
    clock = Clock()
    limits = Limits(clock)
    passed = [limits.check("POST", f"/channels/{number}/messages").allowed for number in range(51)]
    assert passed == [True] * 50 + [False]
    refused = limits.check("POST", "/channels/99/messages")
    assert refused.is_global
    assert refused.headers["X-RateLimit-Scope"] == "global"
    assert limits.check("POST", "/interactions/1/token/callback").allowed
    assert limits.check("PATCH", "/webhooks/1/token/messages/@original").allowed
    clock.now += 1
    assert limits.check("POST", "/channels/99/messages").allowed


def test_a_ban() -> None:
    """Too many invalid requests shut the address out, until they are long ago; valid ones never do."""
    clock = Clock()
    limits = Limits(clock, most_invalid=(3, 60.0))
    for status in (401, 200, 404, 403, 204):
        limits.note(status)
    assert limits.check("GET", "/users/@me").allowed
    limits.note(429)
    assert limits.check("GET", "/users/@me").banned
    clock.now += 61
    assert limits.check("GET", "/users/@me").allowed


@given(st.lists(st.floats(0, 3), max_size=60))
def test_no_window_lets_more_through(pauses: list[float]) -> None:
    """However requests come, no window of five seconds that starts with a request lets more than twice the limit pass,
    and whoever waits as told passes.
    """
    clock = Clock()
    limits = Limits(clock)
    passed: list[float] = []
    for pause in pauses:
        clock.now += pause
        verdict = limits.check("PATCH", EDIT)
        if verdict.allowed:
            passed.append(clock.now)
            assert sum(clock.now - 5 < moment for moment in passed) <= 10
        else:
            clock.now += verdict.retry_after
            assert limits.check("PATCH", EDIT).allowed
            passed.append(clock.now)
