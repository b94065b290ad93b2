"""Votes over the wire: real bot, real HTTP and gateway, hundreds of members who click at once and wait."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import func, select

from bot.demo.discord.people import Community, Message, NoAnswerError, Person, wait_for
from bot.demo.discord.world import CHANNELS, MEMBERS, People, World
from bot.demo.stack import Stack
from bot.demo.story import Story
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Terminal
from bot.domain.videos import UNDER_WAY
from migrations.database import open_database
from migrations.schema import render_progress, videos, votes
from tests.benchmarks.figures import Figure

MODELS = "[models.tiny]\nwidth = 192\nheight = 192\nframes = 17\nsteps = 40\n"  # about a second each


async def measure(*, clickers: int = 500, bursts: int = 4, renders: int = 40) -> list[Figure]:
    """`bursts` times, `clickers` members press at once; then again while `renders` videos are rendered and hosted."""
    names = tuple(f"clicker-{number:03}" for number in range(clickers))
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        World.open(
            state / "discord", "http://127.0.0.1:1", People(members=(*MEMBERS, *names), channels=CHANNELS)
        ).close()
        (state / "models.toml").write_text(MODELS)
        supervisor = Supervisor(state)
        # One core for the renders, as a GPU would leave the others to the rest.
        settings = {"FLOCK_MODELS_FILE": str(state / "models.toml"), "OMP_NUM_THREADS": "1"}
        stack = Stack(state, supervisor, settings=settings)
        try:
            await stack.open_services()
            await stack.open_bot_and_worker()
            async with Community(stack.discord_url, stack.keys.control_token) as community:
                story = Story(stack, community, Terminal(quiet=True), ["a red circle"])
                database = open_database(stack.database_url)
                await story.wait_for_bot(database)
                await story.open_round(database)
                await story.make_videos(database)
                people = [community.person(name) for name in names]
                await _burst(people, story.cards[0], "Up")  # warm
                quiet = await _bursts(people, story.cards[0], bursts)
                async with database.connect() as connection:
                    kept = await connection.scalar(select(func.count()).select_from(votes))
                if kept != clickers:
                    raise AssertionError(f"{clickers} members voted, and {kept} votes are kept.")
                for number in range(renders):
                    await community.person(MEMBERS[number % len(MEMBERS)]).command("prompt", text=f"video {number}")

                async def rendering() -> bool | None:
                    async with database.connect() as connection:
                        return (
                            True if await connection.scalar(select(func.count()).select_from(render_progress)) else None
                        )

                await wait_for("a render", rendering, seconds=120)
                busy = await _bursts(people, story.cards[0], bursts)
                async with database.connect() as connection:
                    left = await connection.scalar(
                        select(func.count()).select_from(videos).where(videos.c.status.in_(UNDER_WAY))
                    )
                await database.dispose()
        finally:
            await supervisor.stop()
    if not left and renders:
        raise AssertionError("The renders were over before the clicks were: take more of them.")
    asked = f"{clickers} members click at once, {bursts} times; median {_median(quiet.latencies)} ms"
    under_load = (
        f"the same while {renders} videos are made ({left} left at its end); median {_median(busy.latencies)} ms"
    )
    return [
        Figure("vote_acks_per_s", round(quiet.per_s), asked),
        Figure("vote_ack_p99_ms", _p99(quiet.latencies), asked),
        Figure("vote_acks_per_s_busy", round(busy.per_s), under_load),
        Figure("vote_ack_p99_ms_busy", _p99(busy.latencies), under_load),
        Figure("votes_unanswered", quiet.unanswered, "clicks that had no answer within Discord's 3 s", at_most=0),
        Figure("votes_unanswered_busy", busy.unanswered, "the same, while videos are made", at_most=0),
    ]


class _Clicks:
    def __init__(self, answers: list[float | None], seconds: float) -> None:
        self.latencies = [taken for taken in answers if taken is not None]
        self.unanswered = len(answers) - len(self.latencies)
        self.per_s = len(self.latencies) / seconds


async def _bursts(people: list[Person], card: Message, bursts: int) -> _Clicks:
    answers: list[float | None] = []
    seconds = 0.0
    for number in range(bursts):
        begun = time.perf_counter()
        answers += await _burst(people, card, "Down" if number % 2 == 0 else "Up")
        seconds += time.perf_counter() - begun
    return _Clicks(answers, seconds)


async def _burst(people: list[Person], card: Message, button: str) -> list[float | None]:
    """Everybody presses at once; the seconds until each had the bot's answer, which says what is recorded."""

    async def press(person: Person) -> float | None:
        begun = time.perf_counter()
        try:
            answer = await person.press(card, button)
        except NoAnswerError:
            return None
        taken = time.perf_counter() - begun
        if f"is **{button.lower()}**" not in answer.text:
            raise AssertionError(f"The bot answered: {answer.text}")
        return taken

    return await asyncio.gather(*(press(person) for person in people))


def _p99(latencies: list[float]) -> float:
    return round(1000 * statistics.quantiles(latencies, n=100)[98])


def _median(latencies: list[float]) -> float:
    return round(1000 * statistics.median(latencies))
