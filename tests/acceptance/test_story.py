"""The demo's story through real processes, on both databases, with the worker and the bot killed in the middle."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.people import NoAnswerError, wait_for
from bot.demo.story import PROMPTS, Story
from migrations.database import open_database
from migrations.schema import outbox, render_progress, videos, votes
from tests.acceptance.conftest import OpenStory

# Slower than the demo's, so that a kill is sure to find a render under way.
SLOW_MODEL = """
[models.tiny]
width = 192
height = 192
frames = 17
fps = 8
steps = 60
"""


async def render_is_under_way(database: AsyncEngine) -> None:
    async def look() -> bool | None:
        async with database.connect() as connection:
            steps = await connection.scalar(
                select(func.max(render_progress.c.step)).where(render_progress.c.phase == "denoising")
            )
        return True if steps else None

    await wait_for("a render to begin", look, seconds=120)


async def votes_on_their_way(database: AsyncEngine) -> int:
    async with database.connect() as connection:
        query = select(func.count()).where(outbox.c.kind == "vote", outbox.c.state.in_(("pending", "batched")))
        return int(await connection.scalar(query) or 0)


async def cards_in_thread(story: Story) -> list[str]:
    """The prompts of all cards, as a member counts them in the thread."""
    thread = story.cards[0].channel_id
    return [
        message.text
        for message in await story.person("emi").messages(thread)
        if any(b.label == "Report" for b in message.buttons)
    ]


async def test_the_story_ends_the_same_when_worker_and_bot_are_killed(
    database_url: str, tmp_path: Path, story_opener: OpenStory
) -> None:
    """A worker dies in the middle of a render, the bot between vote and relay: nothing is lost, nothing is twice."""
    models = tmp_path / "models.toml"
    models.write_text(SLOW_MODEL)
    settings = {"FLOCK_MODELS_FILE": str(models), "FLOCK_FLUSH_S": "30"}
    state = tmp_path / "state"
    state.mkdir()
    async with story_opener(state, list(PROMPTS), database_url=database_url, settings=settings) as story:
        database = open_database(database_url)
        try:
            result = await live_through_kills(story, database)
            await nothing_is_twice(story, database)
        finally:
            await database.dispose()
    tallies = [(v["votes"]["up"], v["votes"]["down"]) for v in result["videos"]]
    # As the story's votes say; dmitri's 👎 on the first came while the bot was dead.
    assert tallies == [(4, 1), (2, 2), (1, 4)]
    assert [(v["chain"]["up"], v["chain"]["down"]) for v in result["videos"]] == tallies
    assert result["audit"]["ok"]
    assert result["audit"]["votes"] == sum(up + down for up, down in tallies)
    assert result["round"]["winner"] == PROMPTS[0]
    for video in result["videos"]:
        assert hashlib.sha256(Path(video["video_path"]).read_bytes()).hexdigest() == video["sha256"]


async def live_through_kills(story: Story, database: AsyncEngine) -> dict[str, Any]:
    supervisor = story.stack.supervisor
    await story.wait_for_bot(database)
    await story.open_round(database)
    await story.submit()
    await render_is_under_way(database)
    supervisor.kill("worker")
    await story.wait_until_posted(database)
    await story.vote(database)
    assert await votes_on_their_way(database) > 0, "the bot must die before its votes are relayed"
    supervisor.kill("bot")
    await story.person("dmitri").react(story.cards[0], "👎")
    await story.wait_for_bot(database)

    async def old_button_answers() -> bool | None:
        try:
            answer = await story.person("ana").press(story.cards[0], "Up")
        except NoAnswerError:  # pressed while nobody was there
            return None
        return True if "is **up**" in answer.text else None

    await wait_for("an old card's button", old_button_answers, seconds=60)

    async def reaction_counts() -> bool | None:
        async with database.connect() as connection:
            query = select(func.count()).where(votes.c.video_id == story.video_ids[0], votes.c.choice == 2)
            return True if await connection.scalar(query) else None

    await wait_for("the reaction that was made meanwhile", reaction_counts, seconds=60)
    await story.close_round(database)
    return await story.look_back(database)


async def nothing_is_twice(story: Story, database: AsyncEngine) -> None:
    shown = await cards_in_thread(story)
    assert len(shown) == len(set(shown)) == len(PROMPTS)
    async with database.connect() as connection:
        rows = (await connection.execute(select(videos))).all()
        seqs = (await connection.execute(select(outbox.c.kind, func.count()).group_by(outbox.c.kind))).all()
    assert len({row.chain_id for row in rows}) == len({row.asset_id for row in rows}) == len(PROMPTS)
    assert {kind: count for kind, count in seqs if kind != "vote"} == {"round": 1, "video": 3, "close": 1}
    results = [
        message
        for message in await story.person("emi").messages(await story.community.channel("videos"))
        if "is decided" in message.text
    ]
    assert len(results) == 1


async def the_operators_commands_agree(story: Story) -> None:
    """`flock audit` and `flock doctor`, run beside the living house; the auditor needs nothing of ours."""
    everything = story.stack.bot_env
    nothing = {"PATH": everything.get("PATH", ""), "HOME": str(story.stack.state)}
    ledger = ["--rpc", everything["FLOCK_RPC_URL"], "--ledger", everything["FLOCK_LEDGER_ADDRESS"]]
    report = await flock_json(everything, story.stack.state, "audit", "--json")
    assert report["ok"]
    assert report["database_checked"]
    assert report["videos"][0]["up"] == 4
    alone = await flock_json(nothing, story.stack.state, "audit", *ledger, "--json")
    assert alone["ok"]
    assert not alone["database_checked"]
    assert alone["digest"] == report["digest"]
    costs = await flock_json(everything, story.stack.state, "costs", "--json")
    assert costs["live"]["chain_id"] == report["chain_id"]
    assert costs["live"]["wei"] == costs["gas"] * costs["live"]["wei_a_gas"] > 0
    assert (await flock_json(nothing, story.stack.state, "costs", "--json"))["live"] is None
    checks = (await flock_json(everything, story.stack.state, "doctor", "--json"))["checks"]
    assert [check["what"] for check in checks if not check["ok"]] == []


async def flock_json(env: dict[str, str], folder: Path, *arguments: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", *arguments, stdout=asyncio.subprocess.PIPE, env=env, cwd=folder
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return json.loads(output)


async def test_votes_outlive_an_outage_of_the_chain_and_videos_one_of_the_host(
    tmp_path: Path, story_opener: OpenStory
) -> None:
    """While host or chain are away members are told, go on, and lose nothing; afterwards everything arrives."""
    async with story_opener(tmp_path, [PROMPTS[0]]) as story:
        supervisor, database = story.stack.supervisor, open_database(story.stack.database_url)
        mira = story.person("mod-mira")
        try:
            await story.wait_for_bot(database)
            await supervisor.forget("host")
            await story.open_round(database)
            await story.submit()
            general = await story.community.channel("general")

            async def told_of_outage() -> bool | None:
                texts = [message.text for message in await story.person("ana").messages(general)]
                return True if any("host isn't responding" in text for text in texts) else None

            await wait_for("word of the host's outage", told_of_outage, seconds=120)
            await story.stack.open_host()
            await story.wait_until_posted(database)

            await supervisor.forget("chain")
            await story.vote(database)
            await asyncio.sleep(3)  # let the relayer notice
            status = await mira.command("round status")
            assert "on the way" in status.text
            assert "chain" in status.text.lower()
            closed = await mira.command("round close")
            assert "closed" in closed.text
            await story.stack.open_chain()
            await story.wait_until_closed(database, story.terminal)
            result = await story.look_back(database)
            await the_operators_commands_agree(story)
        finally:
            await database.dispose()
    assert result["videos"][0]["votes"] == {"up": 4, "down": 0}
    assert result["videos"][0]["chain"]["up"] == 4
    assert result["audit"]["ok"]
