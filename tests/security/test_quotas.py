"""Limits under a crowd of requests at once, and deadlines under a wait: each holds on both kinds of database.

An attacker sends fifty commands within a moment, so that each is counted before any of the others is written.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client, Interaction
from bot.cogs.learning.training import Training
from bot.cogs.ledger_notices import LedgerNotices
from bot.cogs.prompts import Prompts
from bot.domain.errors import (
    MemberError,
    PromptWaitsError,
    RoundAlreadyOpenError,
    RoundClosedError,
    TooManyWaitingError,
)
from bot.domain.policy import Quota
from bot.posts.progress import ProgressMessages
from bot.posts.reviews import ReviewPosts
from bot.prompt_filter.rules import Finding, PromptRules
from bot.store import reviews, rounds, videos
from bot.workflows.review import ReviewWorkflow
from bot.workflows.video_queue import VideoQueue
from migrations.schema import rounds as table
from migrations.states.community import RoundStatus
from tests.bot.store.test_vote_writer import GUILD, add_round
from tests.builders.engines import RecordingEngine

ANA, BEN = 5, 6
AT_ONCE = 50
QUOTA = Quota(prompts_a_round=5, waiting=3)


def desk(database: AsyncEngine) -> tuple[Prompts, ReviewWorkflow]:
    """The commands for prompts over a real database, and the reviews behind them."""
    engine, client = RecordingEngine(), Client()
    queue = VideoQueue(database=database, engine=engine)
    review_workflow = ReviewWorkflow(
        database=database,
        engine=engine,
        queue=queue,
        posts=ReviewPosts(database=database, client=client, model_class="tiny"),
        progress=ProgressMessages(database=database, client=client, progress_s=1.0, model_class="tiny"),
        quota=QUOTA,
        model_id="tiny",
    )
    prompts = Prompts(
        database=database,
        prompt_rules=PromptRules(),
        reviews=review_workflow,
        queue=queue,
        notices=cast(LedgerNotices, None),  # nobody is told of anything here
        training=cast(Training, None),
        quota=QUOTA,
        model_id="tiny",
        model_class="tiny",
    )
    return prompts, review_workflow


def interaction(number: int, member: int = ANA) -> Interaction:
    """A command of a member, as far as the bot reads it."""
    user = SimpleNamespace(id=member, display_name="ana")
    return cast(Interaction, SimpleNamespace(id=number, guild_id=GUILD, channel_id=3, user=user))


async def at_once(ask: Callable[[int], Awaitable[Any]], number: int = AT_ONCE) -> Counter[str]:
    """The outcomes of so many requests at the same time, by the name of the error; "taken" for none."""
    outcomes = await asyncio.gather(*(ask(1000 + each) for each in range(number)), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, MemberError):
            raise outcome
    return Counter(type(each).__name__ if isinstance(each, MemberError) else "taken" for each in outcomes)


async def test_fifty_prompts_at_once_are_as_many_as_may_wait(database: AsyncEngine) -> None:
    """On PostgreSQL too, where each of them counts only what was committed before it."""
    await add_round(database, 1)
    prompts, _ = desk(database)

    async def ask(number: int) -> object:
        return await prompts._ask(interaction(number), f"a prompt {number}", str(number))

    assert await at_once(ask) == {"taken": QUOTA.waiting, "TooManyWaitingError": AT_ONCE - QUOTA.waiting}
    assert len(await videos.under_way(database)) == QUOTA.waiting


async def test_another_member_has_room_of_their_own(database: AsyncEngine) -> None:
    """Only requests of the same member wait for each other."""
    await add_round(database, 1)
    prompts, _ = desk(database)

    async def ask(number: int) -> object:
        member = ANA if number % 2 else BEN
        return await prompts._ask(interaction(number, member), f"a prompt {number}", str(number))

    assert (await at_once(ask))["taken"] == 2 * QUOTA.waiting


async def test_fifty_held_prompts_at_once_are_as_many_as_may_wait(database: AsyncEngine) -> None:
    """Those that wait for a moderator have the same limit, asked for at once or appealed at once."""
    await add_round(database, 1)
    _, review_workflow = desk(database)

    async def hold(number: int, action: str = "review") -> None:
        finding = Finding(action, "It waits.", 2)  # type: ignore[arg-type]  # either of the two
        await review_workflow.hold_prompt(
            finding, interaction_id=number, guild_id=GUILD, member_id=ANA, member_name="ana", channel_id=3,
            prompt="a prompt", round_id=1,
        )  # fmt: skip

    assert await at_once(hold) == {
        PromptWaitsError.__name__: QUOTA.waiting,
        TooManyWaitingError.__name__: AT_ONCE - QUOTA.waiting,
    }
    async with database.connect() as connection:
        assert await reviews.count_waiting_prompts(connection, GUILD, ANA) == QUOTA.waiting


async def test_twenty_moderators_at_once_open_one_round(database: AsyncEngine) -> None:
    """The others read that a round is open, and not that the database does not answer."""

    async def open_round(number: int) -> None:
        async with database.begin() as connection:
            await rounds.open_round(
                connection, guild_id=GUILD, channel_id=1, task=f"task {number}", opened_by=2, seconds=60, grace_s=30
            )

    assert await at_once(open_round, 20) == {"taken": 1, RoundAlreadyOpenError.__name__: 19}


# ------------------------------------------------------------------ deadlines


async def test_a_round_that_closes_while_a_prompt_waits_takes_no_video(database: AsyncEngine) -> None:
    """The prompt read that the round is open, then it waited for its turn to write."""
    await add_round(database, 1)
    prompts, _ = desk(database)
    async with database.begin() as connection:
        await connection.execute(rounds_lock())
        asked = asyncio.create_task(prompts._ask(interaction(1), "a prompt", "1"))
        await asyncio.sleep(0.3)
        await connection.execute(rounds_lock(status=RoundStatus.CLOSED))
    with pytest.raises(RoundClosedError):
        await asked
    assert await videos.get_or_none(database, "1") is None


def rounds_lock(**values: object) -> Any:
    """A statement that locks the round's row, as every change of a round does."""
    return update(table).where(table.c.id == 1).values(**values or {"task": "task"})
