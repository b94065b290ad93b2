"""The people of the embedded Discord, as far as they need none: waiting, and answers that are missing."""

from __future__ import annotations

import pytest

from bot.demo.discord.people import Answer, Community, NoAnswerError, wait_for


async def test_waiting_ends_with_what_was_found_or_says_what_was_not() -> None:
    """The first result that is not None is returned, a false one too; in vain, the sentence names what was missing."""
    results = iter([None, None, 0])

    async def look() -> int | None:
        return next(results)

    async def nothing() -> None:
        return None

    assert await wait_for("a number", look, seconds=5, every=0.001) == 0
    with pytest.raises(NoAnswerError, match="for a miracle, in vain"):
        await wait_for("a miracle", nothing, seconds=0.01, every=0.001)


def test_an_answer_without_a_message_has_none() -> None:
    """Asking for it is an error, and not an empty message."""
    with pytest.raises(LookupError):
        Answer("1", "deferred", True, ()).message  # noqa: B018  # the property raises


async def test_a_community_is_entered_first_and_hides_its_token() -> None:
    """Outside `async with` there is no connection; nobody reads the token in a trace."""
    community = Community("http://127.0.0.1:1", "secret")
    with pytest.raises(RuntimeError, match="entered first"):
        await community.world()
    assert "secret" not in repr(community)
