"""Trainings: what was trained before, the new votes since then, and how far one is."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.releases import Candidate
from bot.domain.training_report import TrainingStep
from bot.domain.votes import Choice
from migrations.schema import candidates, commitments, render_progress, rounds, videos, votes
from migrations.states.community import RoundStatus, VideoStatus
from migrations.states.learning import CandidateState
from migrations.states.ledger import CommitmentKind

WITHOUT_CANDIDATE = (CandidateState.REJECTED, CandidateState.WITHDRAWN)


async def trained_alike(
    connection: AsyncConnection, *, model_id: str, parent: int | None, data_root: str, recipe: dict[str, object]
) -> Candidate | None:
    """Return the latest candidate of the same data set, recipe and release before it, unless it came to nothing."""
    query = (
        select(candidates)
        .where(candidates.c.model_id == model_id, candidates.c.data_root == data_root)
        .where(candidates.c.state.not_in(WITHOUT_CANDIDATE))
        .order_by(candidates.c.id.desc())
    )
    for row in await connection.execute(query):
        candidate = Candidate.from_row(row)
        if (candidate.parent, dict(candidate.recipe)) == (parent, recipe):
            return candidate
    return None


async def latest_data_root(connection: AsyncConnection, model_id: str, *, other_than: str) -> str | None:
    """Return the root of the latest data set of a model that was entered for the ledger; None where there is none."""
    query = (
        select(candidates.c.data_root)
        .join(commitments, commitments.c.root == candidates.c.data_root)
        .where(candidates.c.model_id == model_id, candidates.c.data_root != other_than)
        .where(commitments.c.kind == CommitmentKind.DATASET)
        .order_by(candidates.c.id.desc())
        .limit(1)
    )
    return await connection.scalar(query)


async def is_entered(connection: AsyncConnection, data_root: str) -> bool:
    """Return True where a data set was entered for the ledger already."""
    query = select(commitments.c.entry).where(
        commitments.c.kind == CommitmentKind.DATASET, commitments.c.root == data_root
    )
    return await connection.scalar(query) is not None


async def step_of(database: AsyncEngine, progress_id: str) -> TrainingStep | None:
    """Return the progress of a training; None before its worker has begun."""
    table = render_progress.c
    query = select(table.phase, table.step, table.steps, table.eta_s).where(table.video_id == progress_id)
    async with database.connect() as connection:
        row = (await connection.execute(query)).first()
    return None if row is None else TrainingStep(row.phase, row.step, row.steps, row.eta_s)


async def begun_at_ms(connection: AsyncConnection, model_id: str) -> int:
    """Return when the latest training of a model began; 0 before the first one."""
    query = select(func.max(candidates.c.begun_at_ms)).where(candidates.c.model_id == model_id)
    return int(await connection.scalar(query) or 0)


async def new_votes(connection: AsyncConnection, since_ms: int) -> Sequence[tuple[int, int, int]]:
    """Return guild, latest round and number of votes of the rounds that closed since then, by guild."""
    query = (
        select(rounds.c.guild_id, func.max(rounds.c.id), func.count())
        .join(videos, videos.c.round_id == rounds.c.id)
        .join(votes, votes.c.video_id == videos.c.id)
        .where(rounds.c.status == RoundStatus.CLOSED, rounds.c.closes_at_ms > since_ms)
        .where(videos.c.status == VideoStatus.PUBLISHED, votes.c.choice.in_((Choice.UP, Choice.DOWN)))
        .group_by(rounds.c.guild_id)
        .order_by(rounds.c.guild_id)
    )
    return [(int(guild), int(round_id), int(count)) for guild, round_id, count in await connection.execute(query)]
