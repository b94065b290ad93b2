"""The log of a bot: who opened, closed, removed, reported and decided, by ids alone, and how it stops."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from sqlalchemy import select

from bot.demo.discord.people import Answer, wait_for
from migrations.schema import reviews
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

RULES = '[[rules]]\naction = "review"\nwords = ["president"]\n'
WORDS = ("storms", "a red circle", "president", "It is rude", "spam")  # of members and moderators: none is logged


async def test_the_log_says_who_did_what_and_how_it_ended(tmp_path: Path) -> None:
    """Every act with the ids of its member and its server; a stop with its reason, and no warning."""
    (tmp_path / "rules.toml").write_text(RULES)
    async with open_scenario(tmp_path / "state", FLOCK_PROMPT_RULES=str(tmp_path / "rules.toml")) as scenario:
        round_id = await scenario.open_round()
        card = await scenario.post_card("a red circle")
        video = next(button.custom_id for button in card.buttons if button.label == "Report").split(":")[2]
        assert "A moderator looks" in (await scenario.ana.command("prompt", text="a president")).text
        listed = await wait_for("the prompt to be held", lambda: waiting(scenario), seconds=SETTLED_S)
        await scenario.mira.submit(await scenario.mira.press(listed.message, "Reject"), text="It is rude")
        await scenario.ben.submit(await scenario.ben.press(card, "Report"), text="spam")
        await scenario.mira.command("video remove", video=video, reason="spam")
        await scenario.close_round()

        world = await scenario.community.world()
        ids = {member["name"]: member["id"] for member in world["members"]}
        mira = next(id_ for name, id_ in ids.items() if name.startswith("mira") or name.endswith("mira"))
        server = world["guild"]["id"]
        async with scenario.database.connect() as connection:
            review = (await connection.execute(select(reviews))).one()
        text = scenario.log("bot")
        for expected in (
            rf"Member {mira} set up channel \d+ of server {server}\.",
            rf"Member {mira} opened the round in server {server}\. \[round={round_id}\]",
            rf"Member {mira} rejected review {review.id} of server {server}\. \[video={review.video_id}\]",
            rf"Member {ids['ben']} reported a video in server {server}\. \[video={video}\]",
            rf"Member {mira} removed a video in server {server}\. \[video={video}\]",
            rf"Member {mira} closed the round in server {server}\. \[round={round_id}\]",
        ):
            assert len(re.findall(expected, text)) == 1, expected
        acts = "\n".join(line for line in text.splitlines() if "bot.cogs" in line)
        assert not [word for word in WORDS if word in acts]
        assert "Stopping" not in text
        await both_stop_in_order(scenario)


async def waiting(scenario: Scenario) -> Answer | None:
    answer = await scenario.mira.command("review list")
    return answer if "president" in answer.text else None


async def both_stop_in_order(scenario: Scenario) -> None:
    """Stop the bot and the worker while a round is open and a prompt is on its way."""
    assert "is open" in (await scenario.insist(scenario.mira, "round open", task="storms", duration="1h")).text
    await scenario.insist(scenario.ana, "prompt", text="a red circle")
    for name in ("bot", "worker"):
        os.kill(scenario.stack.supervisor.pid(name), signal.SIGTERM)

        async def stopped(of: str = name) -> str | None:
            text = scenario.log(of)
            return text if "Stopped." in text else None

        text = await wait_for(f"the end of the {name}", stopped, seconds=SETTLED_S)
        assert "Stopping: SIGTERM was received." in text
        assert "Asyncio task cancelled" not in text
        assert "Traceback" not in text
