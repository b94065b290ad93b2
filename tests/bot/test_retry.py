"""What is waited out, how long, and what is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import discord
import pytest

from bot import retry as patience
from bot.retry import GivenUpError, passes, patiently

PAGE = "<html><head><title>403</title></head><body>cloudflare</body></html>"


def http(status: int, code: int = 0, text: str | None = None) -> discord.HTTPException:
    kind = {403: discord.Forbidden, 404: discord.NotFound}.get(status, discord.HTTPException)
    response = cast(Any, SimpleNamespace(status=status, reason="reason"))
    return kind(response, {"code": code, "message": "refused"} if text is None else text)


@pytest.mark.parametrize(
    "error",
    [
        http(500), http(503, text=PAGE), http(429), http(429, text="error code: 1015"), http(408), http(401),
        http(403, text=PAGE), http(404, text=PAGE), http(403, text="error code: 1020"), http(400, 130000),
        http(400, 40062), http(400, 20028), aiohttp.ClientPayloadError(), TimeoutError(), OSError(),
    ],
    ids=str,
)  # fmt: skip
def test_what_goes_away_by_itself_is_waited_for(error: Exception) -> None:
    assert passes(error)


@pytest.mark.parametrize(
    "error",
    [
        http(400, 50035), http(400, 999999), http(403, 50013), http(403, 50001), http(404, 10003), http(401, 50027),
        http(413, text=PAGE), http(413, 40005), http(400, 160006), http(400, 30033), KeyError("retry_after"),
    ],
    ids=str,
)  # fmt: skip
def test_what_stays_is_not(error: Exception) -> None:
    """A full server is not either, unless a person waits: nobody knows when a thread is archived there."""
    assert not passes(error)


class Called:
    """Fails so often, then works."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error = error
        self.left = times
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.left == 0:
            return "done"
        self.left -= 1
        raise self.error


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 0.001)
    monkeypatch.setattr(patience, "MOST_S", 0.01)


@pytest.mark.parametrize(("seconds", "error"), [(None, http(503)), (60.0, http(503)), (60.0, http(400, 160006))])
async def test_it_is_tried_until_it_works(seconds: float | None, error: Exception) -> None:
    call = Called(error, 5)
    assert await patiently("it", call, seconds=seconds) == "done"
    assert call.calls == 6


async def test_who_waits_gets_the_error_in_the_end() -> None:
    """Of an outage after the seconds, of a full server sooner; without seconds a full server is not waited for."""
    for error in (http(503), http(400, 160006)):
        call = Called(error, 1 << 30)
        with pytest.raises(discord.HTTPException):
            await patiently("it", call, seconds=0.05)
        assert call.calls > 1
    call = Called(http(400, 160006), 1)
    with pytest.raises(discord.HTTPException):
        await patiently("it", call)
    assert call.calls == 1


async def test_what_nobody_wants_any_more_is_given_up_with_its_reason() -> None:
    async def unwanted() -> bool:
        return True

    with pytest.raises(GivenUpError) as given_up:
        await patiently("it", Called(http(503), 1 << 30), unwanted=unwanted)
    assert isinstance(given_up.value.__cause__, discord.HTTPException)


class Channel:
    """discord.py's own parsing of an answer, for a call of ours."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    async def __call__(self) -> Any:
        self.calls += 1
        state = cast(Any, SimpleNamespace(http=None))
        return discord.AppInfo(state, self.answer)


@pytest.mark.parametrize("answer", ["OK", [], None, {}, {"id": "x"}])
async def test_an_answer_that_is_not_discords_is_asked_for_again_so_often(answer: Any) -> None:
    """discord.py raises what it happens to raise: it may be a proxy's mishap, and it may be ours, so not for ever."""
    call = Channel(answer)
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)) as raised:
        await patiently("it", call)
    assert patience.is_unreadable(raised.value)
    assert call.calls == patience.MOST_UNREADABLE


async def test_a_mistake_of_ours_is_no_answer_of_discords() -> None:
    """It is raised at once: it would be made again each time."""
    call = Called(KeyError("a bug"), 3)
    with pytest.raises(KeyError) as raised:
        await patiently("it", call)
    assert not patience.is_unreadable(raised.value)
    assert call.calls == 1
