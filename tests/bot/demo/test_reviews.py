"""Prompts held by rules, and videos held by a classifier, stay out of public until a moderator has decided."""

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
from tests.builders.stack import QUICK_MODEL, SETTLED_S, Scenario, open_scenario
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
async def shared_scenario(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenario]:
    """A stack with rules, and with a classifier that flags every video."""
    folder = tmp_path_factory.mktemp("reviews")
    (folder / "rules.toml").write_text(RULES)
    guard = make(folder / "guard", bias=50.0)
    models = folder / "models.toml"
    models.write_text(f'[classifier]\nsource = "{guard}"\nlabels = {{ red = 0.9 }}\nframes = 2\n{QUICK_MODEL}')
    settings = {"FLOCK_PROMPT_RULES": str(folder / "rules.toml"), "FLOCK_MODELS_FILE": str(models)}
    async with open_scenario(folder / "state", **settings) as scenario:
        await scenario.open_round()
        yield scenario


async def public(scenario: Scenario) -> str:
    """All that a member who asked for nothing can read."""
    channels = [str(channel["id"]) for channel in (await scenario.community.world())["channels"]]
    return "\n".join([m.text for channel in channels for m in await scenario.ben.messages(channel)])


async def held(scenario: Scenario, kind: str, prompt: str) -> Answer:
    """Return what a moderator is shown, once something of that prompt waits."""

    async def listed() -> Answer | None:
        answer = await scenario.mira.command("review list")
        return answer if prompt in answer.text and f"**{kind.capitalize()}** by" in answer.text else None

    return await wait_for(f"the {kind} to be held", listed, seconds=SETTLED_S)


async def decide(scenario: Scenario, listed: Answer, label: str, reason: str = "") -> Answer:
    assert listed.ephemeral
    return await scenario.mira.submit(await scenario.mira.press(listed.message, label), text=reason)


async def ended(scenario: Scenario, video_id: str) -> Video:
    async def so() -> Video | None:
        video = await videos.get_or_none(scenario.database, video_id)
        return video if video is not None and video.status == "cancelled" else None

    return await wait_for("its end", so, seconds=SETTLED_S)


async def test_from_a_blocked_prompt_to_a_posted_video(scenario: Scenario) -> None:
    """Blocked at once, appealed after the bot's death, approved; its video flagged, watched, approved, posted."""
    blocked = await scenario.ana.command("prompt", text="a gr\u200bАwlіx on a hill")
    assert blocked.ephemeral
    assert "No grawlix here." in blocked.text
    assert "Nothing is waiting" in (await scenario.mira.command("review list")).text

    scenario.stack.supervisor.kill("bot")

    async def appealed() -> Answer | None:
        try:
            asked = await scenario.ana.press(blocked.message, "Ask a moderator")
        except NoAnswerError:  # it is not back yet
            return None
        return asked if "waits for a moderator" in asked.text else None

    await wait_for("the bot to take the appeal", appealed, seconds=SETTLED_S)
    assert "waiting for a moderator" in (await scenario.ana.command("videos")).text
    listed = await held(scenario, "prompt", "on a hill")
    mine = await scenario.ben.command("videos")
    forged = await scenario.ben.press_id(mine.message, listed.message.button("Approve").custom_id, forged=True)
    assert "Only moderators" in forged.text
    assert "on a hill" not in await public(scenario)
    assert "Approved" in (await decide(scenario, listed, "Approve", "It is a comic.")).text

    listed = await held(scenario, "video", "on a hill")
    video = await videos.get(scenario.database, blocked.interaction_id)
    assert (video.asset_id, video.message_id) == (None, None)  # neither at the host nor in the thread
    assert "moderator will look at your video" in (video.reason or "")
    await scenario.switch("discord", fault="too_large", bytes=1000, path="/webhooks/*", count=1000)
    assert "too large for Discord" in (await scenario.mira.press(listed.message, "Watch")).text
    await scenario.clear_faults()
    watched = await scenario.mira.press(listed.message, "Watch")
    assert watched.ephemeral
    assert watched.message.attachments
    assert "Approved" in (await decide(scenario, listed, "Approve")).text
    video = await scenario.wait_for_video(blocked.interaction_id)
    assert video.asset_id is not None
    assert "on a hill" in (await scenario.card_of(video)).text

    async with scenario.database.connect() as connection:
        kept = (await connection.execute(select(reviews).order_by(reviews.c.id))).all()
    assert [(row.kind, row.state, row.reason) for row in kept] == [
        ("prompt", "approved", "It is a comic."),
        ("video", "approved", None),
    ]
    assert all(row.decided_by and row.decided_at_ms for row in kept)
    again = await scenario.mira.press(listed.message, "Approve")
    assert "already been decided" in again.text


async def test_what_is_rejected_is_told_and_never_posted(scenario: Scenario) -> None:
    """A prompt that waits at once, and a flagged video: both rejected, with reasons; an ordinary prompt asks nobody."""
    waits = await scenario.ana.command("prompt", text="the president dances")
    assert waits.ephemeral
    listed = await held(scenario, "prompt", "president dances")
    assert "Rejected" in (await decide(scenario, listed, "Reject", "No real people.")).text

    async def told() -> bool | None:
        return True if "did not approve your prompt" in await public(scenario) else None

    await wait_for("word to the member", told, seconds=SETTLED_S)
    assert "No real people." in (await scenario.ana.command("videos")).text
    assert "president" not in await public(scenario)

    asked = await scenario.ana.command("prompt", text="a quiet lake")
    assert not asked.ephemeral
    listed = await held(scenario, "video", "a quiet lake")
    file = Path((await videos.get(scenario.database, asked.interaction_id)).video_path or "")
    assert file.exists()
    assert "Rejected" in (await decide(scenario, listed, "Reject", "Too red.")).text
    video = await ended(scenario, asked.interaction_id)
    assert "Too red." in (video.reason or "")
    assert (video.asset_id, file.exists()) == (None, False)


async def test_what_nobody_decides_ends_with_the_round(scenario: Scenario) -> None:
    """Prompt and video wait no longer, the member is told, and a moderator cannot approve what is over."""
    await scenario.ana.command("prompt", text="another president sings")
    asked = await scenario.ana.command("prompt", text="a red kite")
    await held(scenario, "video", "a red kite")
    listed = await held(scenario, "prompt", "another president")
    await scenario.close_round()
    assert "closed" in ((await ended(scenario, asked.interaction_id)).reason or "")

    async def told() -> bool | None:
        return True if "before a moderator looked" in await public(scenario) else None

    await wait_for("word to the member", told, seconds=SETTLED_S)
    assert "already been decided" in (await scenario.mira.press(listed.message, "Approve")).text
    assert "Nothing is waiting" in (await scenario.mira.command("review list")).text
    assert "president" not in await public(scenario)


async def test_two_members_do_not_jam_the_list(scenario: Scenario) -> None:
    """Five prompts of asterisks are more than a message holds: page by page each can be read, and decided."""
    await scenario.open_round()
    for name in ("ana", "ben", "ana", "ben", "ana"):
        assert (await scenario.community.person(name).command("prompt", text="president " + "*" * 490)).ephemeral
    await scenario.community.person("chloé").command("prompt", text="a president like any other")
    listed = await scenario.mira.command("review list")
    assert "6 waiting for review" in listed.text
    seen = approvals(listed)
    assert len(seen) >= 2
    foreign = await scenario.ben.press_id(
        (await scenario.ben.command("videos")).message, listed.message.button("Next").custom_id, forged=True
    )
    assert "Only moderators" in foreign.text
    page = listed
    while any(button.label == "Next" for button in page.message.buttons):
        page = await scenario.mira.press(page.message, "Next")
        assert page.ephemeral
        seen += approvals(page)
    assert len(seen) == len(set(seen)) == 6
    assert "like any other" in page.text
    again = await scenario.mira.press(page.message, "Back to the start")
    assert approvals(again) == seen[: len(approvals(again))]

    assert "Rejected" in (await decide(scenario, page, seen[-1].replace("approve", "reject"), "Enough.")).text
    for left in range(5, 0, -1):
        listed = await scenario.mira.command("review list")
        assert f"{left} waiting for review" in listed.text
        assert "Rejected" in (await decide(scenario, listed, "Reject", "Enough.")).text
    assert "Nothing is waiting" in (await scenario.mira.command("review list")).text
    await scenario.close_round()


def approvals(shown: Answer) -> list[str]:
    return [button.custom_id for button in shown.message.buttons if button.custom_id.startswith("r1:approve:")]
