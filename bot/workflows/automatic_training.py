"""Trainings that begin by themselves: after so many new votes in closed rounds, and never while learning is paused."""

from __future__ import annotations

import logging

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import MemberError
from bot.domain.releases import Candidate
from bot.store import rounds
from bot.store.learning import candidates, releases, trainings
from bot.workflows.training import TrainingWorkflow
from migrations.states.learning import CandidateState

log = logging.getLogger(__name__)

# While a candidate is on its way, the next one would go on from a release that may soon be another.
ON_ITS_WAY = (
    CandidateState.TRAINING, CandidateState.CHECKING, CandidateState.READY, CandidateState.BATTLING, CandidateState.WON,
)  # fmt: skip


class AutomaticTraining:
    """Looks for votes that nothing was trained on yet."""

    def __init__(self, *, database: AsyncEngine, workflow: TrainingWorkflow, model_id: str, after_votes: int) -> None:
        """`after_votes`: how many new votes begin a training; 0: none does."""
        self._database = database
        self._workflow = workflow
        self._model_id = model_id
        self._after_votes = after_votes

    async def tick(self) -> None:
        """Begin a training where there are enough new votes. Each closed round begins one at most."""
        if not self._after_votes:
            return
        try:
            await self._tick()
        except (SQLAlchemyError, OSError) as error:
            log.warning("New votes could not be looked for (%s).", type(error).__name__)

    async def _tick(self) -> None:
        async with self._database.connect() as connection:
            if await releases.is_paused(connection, self._model_id):
                return
            if any(map(_is_on_its_way, await candidates.in_states(connection, self._model_id, *ON_ITS_WAY))):
                return
            since_ms = await trainings.begun_at_ms(connection, self._model_id)
            found = await trainings.new_votes(connection, since_ms)
        for guild_id, round_id, count in found:
            channel_id = await rounds.rounds_channel_or_none(self._database, guild_id)
            if count < self._after_votes or channel_id is None:
                continue
            try:
                async with self._database.begin() as connection:
                    await self._workflow.begin(
                        connection, guild_id=guild_id, channel_id=channel_id, key=f"after-round-{round_id}"
                    )
            except MemberError as error:  # a moderator was quicker
                log.info("No training begins by itself: %s", error)


def _is_on_its_way(candidate: Candidate) -> bool:
    """Return False for a candidate whose battle will not begin by itself: newer votes go on without it."""
    return candidate.state != CandidateState.READY or candidate.reason is None
