"""A member's confirmation of a vote changes with the vote, and no other one piles up beside it."""

from __future__ import annotations

import logging

import pytest
import pytest_asyncio

from bot.cogs import replies
from bot.demo.discord.people import Message, Person, wait_for
from bot.domain.videos import Video
from tests.builders.live_bot import ALWAYS, Town, post_video

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHDRAW = "Withdraw my vote"


@pytest_asyncio.fixture(loop_scope="module")
async def ana(town: Town) -> Person:
    return town.community.person("ana")


@pytest_asyncio.fixture(loop_scope="module")
async def video(town: Town) -> Video:
    assert "is open" in (await town.open()).text
    return await post_video(town, await town.latest(), "a storm")


async def card(town: Town, video: Video) -> Message:
    return await town.community.person("ben").message(str(video.thread_id), str(video.message_id))


async def own(person: Person, video: Video) -> list[str]:
    """What only this member sees in the thread."""
    return [each.text for each in await person.messages(str(video.thread_id)) if each.ephemeral]


async def test_changed_minds_change_one_confirmation(town: Town, ana: Person, video: Video) -> None:
    """Up, down and a withdrawal, on the card or on the confirmation: one message, which says what stands."""
    shown = await card(town, video)
    assert "is **up**" in (await ana.press(shown, "Up")).text
    answer = await ana.press(shown, "Down")
    assert answer.kind == "deferred_update"
    assert "is **down**" in answer.text
    [text] = await own(ana, video)
    assert "is **down**" in text
    answer = await ana.press(answer.message, WITHDRAW)
    assert answer.kind == "update"
    assert "is withdrawn" in answer.text
    [text] = await own(ana, video)
    assert "is withdrawn" in text
    assert "is **up**" in (await ana.press(shown, "Up")).text
    assert len(await own(ana, video)) == 1


async def test_each_video_and_each_member_has_a_confirmation(town: Town, ana: Person, video: Video) -> None:
    """Another video and another member get their own, and the first one stays as it is."""
    other = await post_video(town, await town.latest(), "a calm")
    await ana.press(await card(town, video), "Up")
    await ana.press(await card(town, other), "Down")
    again = await ana.press(await card(town, other), "Down")
    assert [message.text for message in again.messages] == [(await own(ana, video))[-1]]
    ben = town.community.person("ben")
    await ben.press(await card(town, video), "Down")
    up, down = await own(ana, video)
    assert "storm" in up
    assert "is **up**" in up
    assert "calm" in down
    assert "is **down**" in down
    [bens] = await own(ben, video)
    assert "is **down**" in bens


async def test_a_reaction_changes_the_confirmation_too(town: Town, ana: Person, video: Video) -> None:
    """It never goes on saying that a vote is up which is down; who has no confirmation gets none."""
    shown = await card(town, video)
    await ana.press(shown, "Up")
    await ana.react(shown, "👎")
    await town.community.person("emi").react(shown, "👎")

    async def down() -> bool | None:
        return True if "is **down**" in (await own(ana, video))[0] else None

    await wait_for("the confirmation to say so", down, seconds=30)
    assert len(await own(ana, video)) == 1
    assert await own(town.community.person("emi"), video) == []


@pytest.mark.parametrize(
    "refusal",
    [
        {"fault": "refuse", "status": 404, "code": 10008},
        {"fault": "refuse", "status": 404, "code": 10015},
        {"fault": "refuse", "status": 401, "code": 50027},
        {"fault": "refuse", "status": 429},
        {"fault": "error", "status": 503},
        {"fault": "garble"},
        {"fault": "cut"},
    ],
    ids=["dismissed", "expired", "invalid token", "limited", "away", "nonsense", "cut"],
)
async def test_a_confirmation_that_cannot_be_edited_is_followed_by_another(
    town: Town, ana: Person, video: Video, refusal: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """The press is answered in time, by a new confirmation, which is edited from then on. No token is logged."""
    caplog.set_level(logging.DEBUG, logger="bot")
    shown = await card(town, video)
    await ana.press(shown, "Up")
    tokens = [record.token for record in town.backend.interactions.values()]
    await town.fault(**refusal, **ALWAYS, method="PATCH", path="/webhooks/*")
    answer = await ana.press(shown, "Down")
    assert "is **down**" in answer.text
    assert answer.kind == "message"
    await town.fault(off=True)
    answer = await ana.press(answer.message, WITHDRAW)
    assert "is withdrawn" in answer.text
    assert "is withdrawn" in (await own(ana, video))[-1]
    assert len(await own(ana, video)) == 2
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("bot"))
    assert not any(token in ours for token in tokens)


async def test_after_a_restart_an_old_confirmation_changes_when_it_is_pressed(
    town: Town, ana: Person, video: Video
) -> None:
    """Nothing is remembered; the press itself allows the edit, and from then on the card's presses edit it again."""
    shown = await card(town, video)
    first = await ana.press(shown, "Up")
    voting = town.app.client.get_cog("Voting")
    voting._confirmations._kept.clear()  # type: ignore[union-attr]  # the cog is there
    assert "is withdrawn" in (await ana.press(first.message, WITHDRAW)).text
    assert "is **down**" in (await ana.press(shown, "Down")).text
    [text] = await own(ana, video)
    assert "is **down**" in text


async def test_what_is_kept_is_bounded(town: Town, ana: Person, video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten, and then the next press brings a new confirmation."""
    monkeypatch.setattr(replies, "MOST_KEPT", 1)
    await ana.press(await card(town, video), "Up")
    await town.community.person("ben").press(await card(town, video), "Up")
    assert (await ana.press(await card(town, video), "Down")).kind == "message"
    assert len(await own(ana, video)) == 2


async def test_an_error_is_told_in_a_message_of_its_own(town: Town, ana: Person, video: Video) -> None:
    """After the close the vote stands, so the confirmation still says so."""
    shown = await card(town, video)
    first = await ana.press(shown, "Up")
    await town.close()
    late = await ana.press_id(first.message, f"v1:withdraw:{video.id}")
    assert "is **up**" not in late.text
    up, closed = await own(ana, video)
    assert "is **up**" in up
    assert "closed" in closed
