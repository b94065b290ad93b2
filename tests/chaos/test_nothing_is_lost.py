"""Prompts and votes of a crowd through real processes, which are killed at random."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards.layout import quote
from bot.demo.discord.people import Message, NoAnswerError, wait_for
from bot.demo.discord.world import MODERATOR, People, World
from bot.demo.story import Story
from bot.domain.videos import UNDER_WAY
from bot.store import rounds
from contracts.audit.audit import audit
from contracts.outbox.entries import salted_hash
from migrations.database import open_database
from migrations.schema import feedback, outbox, reactions, videos
from tests.acceptance.conftest import open_story
from tests.chaos.crowd import Crowd
from tests.chaos.killer import Killer
from tests.chaos.ledger import Recorded, read_ledger
from tests.chaos.oracle import DOWN, UP, WITHDRAWN, Key, differences
from tests.chaos.plan import LONG, QUICK, Outcome, Plan

# The real pipeline, with small pictures and few of them: a render takes about a second.
MODELS = "[models.tiny]\nwidth = 96\nheight = 96\nframes = 9\nfps = 8\nsteps = 2\n"
SETTLE_S = 120.0


async def test_no_prompt_and_no_vote_is_lost_while_processes_are_killed(
    tmp_path: Path, begin: Callable[[str, Plan], Outcome]
) -> None:
    """Each acknowledged prompt is posted once, and the ledger holds the last acknowledged choice of every member."""
    await live_through(begin("quick", QUICK), tmp_path)


async def test_nor_in_a_long_time(
    tmp_path: Path, begin: Callable[[str, Plan], Outcome], pytestconfig: pytest.Config
) -> None:
    """The same with six times the prompts and six times the kills."""
    if not pytestconfig.getoption("--long-chaos"):
        pytest.skip('it takes about ten minutes; run it by `make test ARGS="tests/chaos --long-chaos"`')
    await live_through(begin("long", LONG), tmp_path)


async def live_through(outcome: Outcome, folder: Path) -> None:
    start = time.monotonic()
    async with open_town(folder, outcome.plan) as town:
        outcome.seconds["start"] = time.monotonic() - start
        try:
            await town.live(outcome)
            await town.end(outcome)
            outcome.seconds["in all"] = time.monotonic() - start
            await check(town, outcome)
        finally:
            outcome.counts |= town.crowd.counts


class Town:
    """The stack with its crowd, over the hour in which everything is killed again and again."""

    def __init__(self, story: Story, database: AsyncEngine, plan: Plan, general: str) -> None:
        self.story = story
        self.database = database
        self.members = [f"member-{number:03}" for number in range(plan.members)]
        self.crowd = Crowd(story.community, self.members, general, plan.seed)
        self.killer = Killer(
            story.stack.supervisor,
            database,
            random.Random(f"{plan.seed} kills"),  # noqa: S311  # dice that fall alike in every run
            plan.kills,
        )
        self._seen: set[str] = set()

    async def live(self, outcome: Outcome) -> None:
        """Let prompts, votes and kills happen all at once; then let all that is under way come to its end."""
        plan, since = outcome.plan, time.monotonic()
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self.killer.run())
            asking = group.create_task(self.crowd.ask(plan.prompts, plan.every_s))
            group.create_task(self._show_cards(group, plan.voters, killing, asking))
            await killing
            outcome.seconds["kills"] = time.monotonic() - since
        outcome.counts |= {f"kills of the {name}": count for name, count in sorted(self.killer.killed.items())}
        outcome.seconds["crowd"] = time.monotonic() - since
        await self._settle()
        outcome.seconds["settled"] = time.monotonic() - since

    async def _show_cards(
        self, group: asyncio.TaskGroup, voters: int, killing: asyncio.Task[None], asking: asyncio.Task[None]
    ) -> None:
        """Hand each new card to its voters, until every video is posted."""
        while True:
            over = killing.done() and asking.done() and not await self._under_way()
            for card in await self.cards():
                prompt = self.prompt_of(card)
                if prompt not in self._seen:
                    self._seen.add(prompt)
                    group.create_task(self.crowd.vote_on(card, prompt, voters))
            if over:
                return
            await asyncio.sleep(1)

    async def _under_way(self) -> bool:
        async with self.database.connect() as connection:
            query = select(videos.c.id).where(videos.c.status.in_(UNDER_WAY)).limit(1)
            return (await connection.execute(query)).first() is not None

    async def _settle(self) -> None:
        """Wait until the bot has seen what stands on the cards; a loss is left to `check`, which can name it."""

        async def seen() -> bool | None:
            return True if await self.known_reactions() == self.crowd.reactions else None

        try:
            await wait_for("the reactions to be seen", seen, seconds=SETTLE_S, every=0.5)
        except NoAnswerError:
            return

    async def end(self, outcome: Outcome) -> None:
        """Let the moderator close the round, and wait until its result is on the ledger."""
        since = time.monotonic()

        async def closed() -> bool | None:
            try:
                answer = await self.story.person(MODERATOR).command("round close")
            except NoAnswerError:  # the last kill was the bot's, and it is not back yet
                return None
            return "is closed" in answer.text

        assert await wait_for("/round close to be answered", closed, seconds=SETTLE_S)
        await self.story.wait_until_closed(self.database, self.story.terminal)
        outcome.seconds["ledger"] = time.monotonic() - since

    # ------------------------------------------------------------------ looking

    async def cards(self) -> list[Message]:
        """Return all cards of videos, of open and closed rounds, wherever in the guild they are."""
        reader, cards = self.story.person(MODERATOR), []
        for channel in (await self.story.community.world())["channels"]:
            messages = await reader.messages(str(channel["id"]), limit=1_000_000)
            cards += [m for m in messages if not m.ephemeral and any(button.label == "Report" for button in m.buttons)]
        return cards

    def prompt_of(self, card: Message) -> str:
        return next((prompt for prompt in self.crowd.asked if f"### {quote(prompt)}" in card.text), card.text)

    async def member_ids(self) -> dict[str, int]:
        return {member["name"]: int(member["id"]) for member in (await self.story.community.world())["members"]}

    async def known_reactions(self) -> set[tuple[str, str, int]]:
        names = {number: name for name, number in (await self.member_ids()).items()}
        async with self.database.connect() as connection:
            query = select(videos.c.prompt, reactions.c.member_id, reactions.c.choice)
            rows = await connection.execute(query.join(videos, videos.c.id == reactions.c.video_id))
            return {(row.prompt, names[row.member_id], row.choice) for row in rows}

    async def kept_feedback(self) -> dict[Key, str]:
        names = {number: name for name, number in (await self.member_ids()).items()}
        async with self.database.connect() as connection:
            query = select(videos.c.prompt, feedback.c.member_id, feedback.c.text)
            rows = await connection.execute(query.join(videos, videos.c.id == feedback.c.video_id))
            return {(row.prompt, names[row.member_id]): row.text for row in rows}

    async def entered_prompts(self) -> dict[str, str]:
        """The prompts by their hashes, under the salts that only the bot has."""
        query = select(videos.c.prompt, outbox.c.payload).join(outbox, outbox.c.video_id == videos.c.id)
        async with self.database.connect() as connection:
            rows = await connection.execute(query.where(outbox.c.kind == "video"))
            return {salted_hash(row.prompt, row.payload["prompt_salt"]): row.prompt for row in rows}

    async def on_ledger(self) -> Recorded:
        stack = self.story.stack
        assert stack.deployment is not None
        return await read_ledger(
            stack.rpc_url,
            stack.deployment.address,
            pepper=stack.keys.pepper.encode(),
            guild_id=int((await self.story.community.world())["guild"]["id"]),
            prompts=await self.entered_prompts(),
            members=await self.member_ids(),
        )


@asynccontextmanager
async def open_town(folder: Path, plan: Plan) -> AsyncIterator[Town]:
    """Open a stack with an open round, and more members than the demo's."""
    state = folder / "state"
    state.mkdir()
    members = tuple(f"member-{number:03}" for number in range(plan.members))
    World.open(state / "discord", "http://127.0.0.1:1", People(members=members)).close()
    models = folder / "models.toml"
    models.write_text(MODELS)
    settings = {"FLOCK_MODELS_FILE": str(models), "OMP_NUM_THREADS": "1"}
    async with open_story(state, [], settings=settings) as story:
        database = open_database(story.stack.database_url)
        try:
            await story.wait_for_bot(database)
            await story.open_round(database)
            yield Town(story, database, plan, await story.community.channel("general"))
        finally:
            await database.dispose()


# --------------------------------------------------------------------------- checks at the end


async def check(town: Town, outcome: Outcome) -> None:
    """Look everything up anew: cards as a member, ballots from the chain, and only then our own tables."""
    plan, crowd = outcome.plan, town.crowd
    taken_over = await town.killer.taken_over()
    cards = Counter([town.prompt_of(card) for card in await town.cards()])
    recorded = await town.on_ledger()
    expected = crowd.expected
    wrong = differences(expected, recorded.ballots)
    lost = sorted(set(crowd.acknowledged) - set(cards))
    missed = crowd.reactions ^ await town.known_reactions()
    outcome.counts |= {f"{kind} taken over from the dead": count for kind, count in sorted(taken_over.items())}
    outcome.counts |= {
        "prompts acknowledged": len(crowd.acknowledged),
        "prompts lost": len(lost),
        "cards": cards.total(),
        "cards posted twice": sum(cards.values()) - len(cards),
        "ballots on the ledger": len(recorded.ballots),
        "ballots that are wrong": len(wrong),
        "reactions that stand": len(crowd.reactions),
        "reactions not seen": len(missed),
        "ballots left open by a missing answer": sum(len(choices) > 1 for choices in expected.values()),
    }
    assert crowd.odd == []
    assert lost == []
    assert set(cards) <= set(crowd.asked)
    assert cards.most_common(1)[0][1] == 1, "a video was posted twice"
    assert recorded.problems == []
    assert dict(recorded.videos) == dict(cards)
    assert missed == set()
    assert wrong == []
    await check_the_check(expected, recorded)
    await check_tables(town, recorded, outcome)
    kept = await town.kept_feedback()
    assert [key for key, texts in crowd.feedback.items() if kept.get(key, "") not in texts] == []
    assert len(crowd.acknowledged) >= plan.prompts
    assert crowd.counts["votes acknowledged"] >= plan.votes
    assert min(taken_over["jobs"], taken_over["workflows"]) > 0, "no kill hit anything"
    assert town.killer.killed == plan.kills


async def check_the_check(expected: dict[Key, frozenset[int]], recorded: Recorded) -> None:
    """Check the check, on this very run: one ballot less, or turned around, would have been noticed."""
    sure = next(key for key, choices in expected.items() if choices == {UP})
    assert len(differences(expected, {**recorded.ballots, sure: DOWN})) == 1
    assert len(differences(expected, {**recorded.ballots, sure: WITHDRAWN})) == 1
    assert len(differences(expected, {**recorded.ballots, ("no such prompt", "nobody"): UP})) == 1


async def check_tables(town: Town, recorded: Recorded, outcome: Outcome) -> None:
    """Database, files and audit agree with the ledger; the round was announced and decided once."""
    stack = town.story.stack
    assert stack.deployment is not None
    report = await audit(
        stack.rpc_url, stack.deployment.address, database=town.database, pepper=stack.keys.pepper.encode()
    )
    assert report.problems == []
    assert (report.pending, report.refused) == (0, 0)
    assert recorded.final == [True]
    outcome.counts["choices sent to the ledger"] = report.votes
    async with town.database.connect() as connection:
        rows = (await connection.execute(select(videos))).all()
    assert {row.prompt: row.status for row in rows} == dict.fromkeys(recorded.videos, "published")
    for row in rows:
        data = Path(row.video_path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == recorded.content[row.prompt]
    channel = await town.story.community.channel("videos")
    posts = [message.text for message in await town.story.person(MODERATOR).messages(channel)]
    assert len([text for text in posts if "is decided" in text]) == 1
    assert await rounds.all_open(town.database) == []
