"""The release of a candidate that won: its adapter is offered to workers, then it is made, entered and announced."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import (
    AdapterMissingError,
    CandidateNotWonError,
    CandidateOutdatedError,
    CandidateUnknownError,
)
from bot.store.learning import candidates
from bot.store.learning.candidates import WrongStateError
from bot.store.learning.releases import OutdatedCandidateError
from bot.workflows.battles.results import MadeRelease, make_release
from bot.workflows.learning.release_post import ReleaseAnnouncements
from generation.adapters.file import AdapterError, adapter_path
from generation.adapters.transfer import offer
from migrations.states.learning import CandidateState

log = logging.getLogger(__name__)


class Releasing:
    """Makes releases of one model, for moderators and by itself."""

    def __init__(
        self, *, database: AsyncEngine, model_id: str, data_dir: Path, announcements: ReleaseAnnouncements
    ) -> None:
        self._database = database
        self._model_id = model_id
        self._data_dir = data_dir
        self._announcements = announcements

    async def release(self, candidate_id: int, guild_id: int) -> MadeRelease:
        """Release a candidate, once; a repetition returns the same release.

        Raises CandidateUnknownError, CandidateNotWonError, AdapterMissingError or CandidateOutdatedError.
        """
        try:
            async with self._database.connect() as connection:
                candidate = await candidates.get(connection, candidate_id)
        except LookupError:
            raise CandidateUnknownError(number=candidate_id) from None
        if candidate.model_id != self._model_id:
            raise CandidateUnknownError(number=candidate_id)
        if candidate.state != CandidateState.WON or candidate.adapter_sha256 is None:
            raise CandidateNotWonError(number=candidate_id, state=candidate.state)
        try:  # before anybody can ask for it
            path = adapter_path(self._data_dir, candidate.adapter_sha256)
            await offer(self._database, path, candidate.adapter_sha256)
        except AdapterError as error:
            log.error("Candidate %d cannot be released: %s", candidate_id, error)
            raise AdapterMissingError(number=candidate_id) from error
        try:
            async with self._database.begin() as connection:
                made = await make_release(connection, candidate_id)
                await self._announcements.announce_release(connection, made.release, guild_id)
        except OutdatedCandidateError:
            raise CandidateOutdatedError(number=candidate_id) from None
        except WrongStateError as error:
            raise CandidateNotWonError(number=candidate_id, state=error.state) from None
        return made
