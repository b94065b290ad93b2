"""Members read once what theirs is used for, and choose; no vote waits for that."""

from __future__ import annotations

import pytest
import pytest_asyncio
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError

from bot.demo.discord.people import Message, Person, wait_for
from bot.domain.videos import Video
from bot.store.learning import choices
from migrations.schema import training_choices
from tests.builders.live_bot import Town, post_video

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTICE = "What yours is used for"


@pytest_asyncio.fixture(loop_scope="module")
async def video(town: Town) -> Video:
    assert "is open" in (await town.open()).text
    return await post_video(town, await town.latest(), "a storm", member="chloé")


async def newcomer(town: Town, name: str) -> tuple[Person, int]:
    """A member who has not read the notice. Each test has its own: a bot remembers who has."""
    members = {each["name"]: int(each["id"]) for each in (await town.community.world())["members"]}
    async with town.database.begin() as connection:
        await connection.execute(delete(training_choices).where(training_choices.c.member_id == members[name]))
    return town.community.person(name), members[name]


async def card(person: Person, video: Video) -> Message:
    return await person.message(str(video.thread_id), str(video.message_id))


async def notices(person: Person, *channels: int | None) -> list[Message]:
    """The notices that this member sees in some channels."""
    found = [message for channel in channels for message in await person.messages(str(channel))]
    return [message for message in found if NOTICE in message.text]


async def one_notice(person: Person, *channels: int | None) -> Message:
    async def look() -> Message | None:
        found = await notices(person, *channels)
        return found[0] if found else None

    return await wait_for("the notice", look, seconds=60)


async def test_a_first_vote_is_followed_by_the_notice_once(town: Town, video: Video) -> None:
    """It is a message of its own, that nobody else sees; the next vote brings no other."""
    ben, member_id = await newcomer(town, "ben")
    assert not (await choices.state_of(town.database, town.guild, member_id)).has_read
    assert "is **up**" in (await ben.press(await card(ben, video), "Up")).text
    notice = await one_notice(ben, video.thread_id)
    assert notice.ephemeral
    assert "cannot be called back" in notice.text
    assert "is **down**" in (await ben.press(await card(ben, video), "Down")).text

    async def recorded() -> bool | None:
        return True if (await choices.state_of(town.database, town.guild, member_id)).is_in else None

    await wait_for("the notice to be recorded", recorded, seconds=30)
    assert len(await notices(ben, video.thread_id)) == 1
    assert await notices(town.mira, video.thread_id) == []


async def test_feedback_and_prompts_are_followed_by_it_too(town: Town, video: Video) -> None:
    """After the answer; a report trains nothing, so nothing is said."""
    emi, _ = await newcomer(town, "emi")
    form = await emi.press(await card(emi, video), "Report")
    assert "is recorded" in (await emi.submit(form, text="It is rude.")).text
    assert await notices(emi, video.thread_id) == []
    form = await emi.press(await card(emi, video), "Feedback")
    assert "Thank you" in (await emi.submit(form, text="More of it.")).text
    await one_notice(emi, video.thread_id)
    dmitri, _ = await newcomer(town, "dmitri")
    asked = await dmitri.command("prompt", text="a red ball", in_channel=str(video.thread_id))
    assert not asked.ephemeral
    assert (await one_notice(dmitri, video.thread_id)).ephemeral


async def test_a_vote_waits_for_no_notice(town: Town, video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the notice cannot be sent, the vote stands all the same; the notice comes after the next one."""
    ana, _ = await newcomer(town, "ana")

    async def broken(*_: object) -> object:
        raise OperationalError("select", {}, Exception("away"))

    with monkeypatch.context() as patch:
        patch.setattr(choices, "state_of", broken)
        assert "is **up**" in (await ana.press(await card(ana, video), "Up")).text
        assert await notices(ana, video.thread_id) == []
    assert "is **down**" in (await ana.press(await card(ana, video), "Down")).text
    await one_notice(ana, video.thread_id)


async def test_help_and_the_command_show_the_choice(town: Town) -> None:
    """Out and in again; who chooses has read what it is about, and gets no notice any more."""
    chloe, member_id = await newcomer(town, "chloé")
    assert "Nothing of yours is used for training yet" in (await chloe.command("help")).text
    out = await chloe.command("training opt-out")
    assert out.ephemeral
    assert "You have opted out" in out.text
    assert "You have opted out" in (await chloe.command("help")).text
    assert not (await choices.state_of(town.database, town.guild, member_id)).is_in
    back = await chloe.command("training opt-in")
    assert "You take part" in back.text
    assert "train this server's video model" in (await chloe.command("help")).text
    assert (await choices.state_of(town.database, town.guild, member_id)).is_in
    assert await choices.state_of(town.database, town.other_guild, member_id) == choices.TrainingState()
