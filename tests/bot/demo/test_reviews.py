"""What is held stays out of public until a moderator has decided: prompts by rules, videos by a classifier."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import select

from bot.demo.discord.people import Answer, NoAnswerError, wait_for
from bot.domain.videos import Video
from bot.store import videos
from migrations.schema import reviews
from tests.builders.stack import QUICK_MODEL, SETTLED_S, Trouble, open_trouble
from tests.generation.render.red_guard import make

pytestmark = pytest.mark.asyncio(loop_scope="module")

RULES = """
[[rules]]
action = "block"
words = ["grawlix"]
say = "No grawlix here."

[[rules]]
action = "review"
words = ["president"]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trouble(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trouble]:
    """A house with rules, and with a classifier that flags every video."""
    folder = tmp_path_factory.mktemp("reviews")
    (folder / "rules.toml").write_text(RULES)
    guard = make(folder / "guard", bias=50.0)
    models = folder / "models.toml"
    models.write_text(f'[classifier]\nsource = "{guard}"\nlabels = {{ red = 0.9 }}\nframes = 2\n{QUICK_MODEL}')
    settings = {"FLOCK_PROMPT_RULES": str(folder / "rules.toml"), "FLOCK_MODELS_FILE": str(models)}
    async with open_trouble(folder / "state", **settings) as trouble:
        await trouble.open_round()
        yield trouble


async def public(trouble: Trouble) -> str:
    """All that a member who asked for nothing can read."""
    channels = [str(channel["id"]) for channel in (await trouble.community.world())["channels"]]
    return "\n".join([m.text for channel in channels for m in await trouble.ben.messages(channel)])


async def held(trouble: Trouble, kind: str, prompt: str) -> Answer:
    """What a moderator is shown, once something of that prompt waits."""

    async def listed() -> Answer | None:
        answer = await trouble.mira.command("review list")
        return answer if prompt in answer.text and f"A {kind}" in answer.text else None

    return await wait_for(f"the {kind} to be held", listed, seconds=SETTLED_S)


async def decide(trouble: Trouble, listed: Answer, label: str, reason: str = "") -> Answer:
    assert listed.ephemeral
    return await trouble.mira.submit(await trouble.mira.press(listed.message, label), text=reason)


async def ended(trouble: Trouble, video_id: str) -> Video:
    async def so() -> Video | None:
        video = await videos.get_or_none(trouble.database, video_id)
        return video if video is not None and video.status == "cancelled" else None

    return await wait_for("its end", so, seconds=SETTLED_S)


async def test_from_a_blocked_prompt_to_a_posted_video(trouble: Trouble) -> None:
    """Blocked at once, appealed after the bot's death, approved; its video flagged, watched, approved, posted."""
    blocked = await trouble.ana.command("prompt", text="a gr\u200bАwlіx on a hill")
    assert blocked.ephemeral
    assert "No grawlix here." in blocked.text
    assert "Nothing is waiting" in (await trouble.mira.command("review list")).text

    trouble.house.supervisor.kill("bot")

    async def appealed() -> Answer | None:
        try:
            asked = await trouble.ana.press(blocked.message, "Ask a moderator")
        except NoAnswerError:  # it is not back yet
            return None
        return asked if "moderators see" in asked.text else None

    await wait_for("the bot to take the appeal", appealed, seconds=SETTLED_S)
    assert "waiting for a moderator" in (await trouble.ana.command("videos")).text
    listed = await held(trouble, "prompt", "on a hill")
    mine = await trouble.ben.command("videos")
    forged = await trouble.ben.press_id(mine.message, listed.message.button("Approve").custom_id, forged=True)
    assert "Only moderators" in forged.text
    assert "on a hill" not in await public(trouble)
    assert "Approved" in (await decide(trouble, listed, "Approve", "It is a comic.")).text

    listed = await held(trouble, "video", "on a hill")
    video = await videos.get(trouble.database, blocked.interaction_id)
    assert (video.asset_id, video.message_id) == (None, None)  # neither at the host nor in the thread
    assert "moderator looks at your video" in (video.reason or "")
    await trouble.switch("discord", fault="too_large", bytes=1000, path="/webhooks/*", count=1000)
    assert "too large for Discord" in (await trouble.mira.press(listed.message, "Watch")).text
    await trouble.put_in_order()
    watched = await trouble.mira.press(listed.message, "Watch")
    assert watched.ephemeral
    assert watched.message.attachments
    assert "Approved" in (await decide(trouble, listed, "Approve")).text
    video = await trouble.published(blocked.interaction_id)
    assert video.asset_id is not None
    assert "on a hill" in (await trouble.card_of(video)).text

    async with trouble.database.connect() as connection:
        kept = (await connection.execute(select(reviews).order_by(reviews.c.id))).all()
    assert [(row.kind, row.state, row.reason) for row in kept] == [
        ("prompt", "approved", "It is a comic."),
        ("video", "approved", None),
    ]
    assert all(row.decided_by and row.decided_at_ms for row in kept)
    again = await trouble.mira.press(listed.message, "Approve")
    assert "already been decided" in again.text


async def test_what_is_rejected_is_told_and_never_posted(trouble: Trouble) -> None:
    """A prompt that waits at once, and a flagged video: both rejected, with reasons; an ordinary prompt asks nobody."""
    waits = await trouble.ana.command("prompt", text="the president dances")
    assert waits.ephemeral
    listed = await held(trouble, "prompt", "president dances")
    assert "Rejected" in (await decide(trouble, listed, "Reject", "No real people.")).text

    async def told() -> bool | None:
        return True if "did not approve your prompt" in await public(trouble) else None

    await wait_for("word to the member", told, seconds=SETTLED_S)
    assert "No real people." in (await trouble.ana.command("videos")).text
    assert "president" not in await public(trouble)

    asked = await trouble.ana.command("prompt", text="a quiet lake")
    assert not asked.ephemeral
    listed = await held(trouble, "video", "a quiet lake")
    file = Path((await videos.get(trouble.database, asked.interaction_id)).video_path or "")
    assert file.exists()
    assert "Rejected" in (await decide(trouble, listed, "Reject", "Too red.")).text
    video = await ended(trouble, asked.interaction_id)
    assert "Too red." in (video.reason or "")
    assert (video.asset_id, file.exists()) == (None, False)


async def test_what_nobody_decides_ends_with_the_round(trouble: Trouble) -> None:
    """Prompt and video wait no longer, the member is told, and a moderator cannot approve what is over."""
    await trouble.ana.command("prompt", text="another president sings")
    asked = await trouble.ana.command("prompt", text="a red kite")
    await held(trouble, "video", "a red kite")
    listed = await held(trouble, "prompt", "another president")
    await trouble.close_round()
    assert "closed" in ((await ended(trouble, asked.interaction_id)).reason or "")

    async def told() -> bool | None:
        return True if "before a moderator had looked" in await public(trouble) else None

    await wait_for("word to the member", told, seconds=SETTLED_S)
    assert "already been decided" in (await trouble.mira.press(listed.message, "Approve")).text
    assert "Nothing is waiting" in (await trouble.mira.command("review list")).text
    assert "president" not in await public(trouble)


async def test_two_members_do_not_jam_the_list(trouble: Trouble) -> None:
    """Five prompts of asterisks are more than a message holds: page by page each can be read, and decided."""
    await trouble.open_round()
    for name in ("ana", "ben", "ana", "ben", "ana"):
        assert (await trouble.community.person(name).command("prompt", text="president " + "*" * 490)).ephemeral
    await trouble.community.person("chloé").command("prompt", text="a president like any other")
    listed = await trouble.mira.command("review list")
    assert "6 waiting for review" in listed.text
    seen = approvals(listed)
    assert len(seen) >= 2
    foreign = await trouble.ben.press_id(
        (await trouble.ben.command("videos")).message, listed.message.button("Next").custom_id, forged=True
    )
    assert "Only moderators" in foreign.text
    page = listed
    while any(button.label == "Next" for button in page.message.buttons):
        page = await trouble.mira.press(page.message, "Next")
        assert page.ephemeral
        seen += approvals(page)
    assert len(seen) == len(set(seen)) == 6
    assert "like any other" in page.text
    again = await trouble.mira.press(page.message, "Back to the start")
    assert approvals(again) == seen[: len(approvals(again))]

    assert "Rejected" in (await decide(trouble, page, seen[-1].replace("approve", "reject"), "Enough.")).text
    for left in range(5, 0, -1):
        listed = await trouble.mira.command("review list")
        assert f"{left} waiting for review" in listed.text
        assert "Rejected" in (await decide(trouble, listed, "Reject", "Enough.")).text
    assert "Nothing is waiting" in (await trouble.mira.command("review list")).text
    await trouble.close_round()


def approvals(shown: Answer) -> list[str]:
    return [button.custom_id for button in shown.message.buttons if button.custom_id.startswith("r1:approve:")]
