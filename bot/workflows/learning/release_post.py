"""The workflow that tells a server of a release: a worker makes its filmstrip, then it is posted, once.

It begins in the transaction that makes the release. Killed anywhere, it goes on. A release is never held up by its
post, nor the post by a filmstrip that cannot be made.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.releases import Release
from bot.files.filmstrips import keep_filmstrip, read_filmstrip
from bot.posts.releases import ReleasePosts
from bot.store import rounds
from bot.store.learning import releases
from bot.workflows.steps import step
from generation.adapters.file import AdapterError, adapter_path
from generation.adapters.transfer import offer
from generation.answers import FilmstripResult, read_answer
from generation.jobs import BOT_QUEUE, FILMSTRIP_WORKFLOW, FilmstripJob, ReleaseName, release_queue
from generation.queue.engine import Engine, WorkCancelledError
from generation.strict_json import JsonObject
from migrations.database import now_ms
from migrations.states.learning import ReleaseState

log = logging.getLogger(__name__)

WORKFLOW = "release_post"
LANE = -9  # in place of a member, in the queue that is fair by member
MOST_SHOWN = 7  # releases of a filmstrip, beside the base model
# Simple enough for every model, with something that moves; always the same, so that only the releases differ.
PROMPT, SEED = "a red ball moves right", 20_240_229
POLL_S = 1.0  # at the filmstrip
LONGEST_WAIT_S = 1800  # for it, from the release on
AGAIN_S, LONGEST_AGAIN_S = 30.0, 3600.0  # between two tries to post
MOST_TRIES = 48  # which take about two days


def workflow_id(model_id: str, number: int) -> str:
    """Return the id of the workflow of a release."""
    return f"release-{model_id}-{number}"


def job_id(model_id: str, number: int) -> str:
    """Return the id of the job of a release's filmstrip."""
    return f"filmstrip-{model_id}-{number}"


class ReleaseAnnouncements:
    """Tells the server in which a release was made of it."""

    def __init__(
        self, *, database: AsyncEngine, engine: Engine, posts: ReleasePosts, data_dir: Path, model_class: str
    ) -> None:
        self._database = database
        self._engine = engine
        self._posts = posts
        self._data_dir = data_dir
        self._model_class = model_class

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def release_post(argument: JsonObject) -> JsonObject:
            await self.run(str(argument["model_id"]), cast(int, argument["number"]), cast(int, argument["guild_id"]))
            return argument

        engine.workflow(WORKFLOW)(release_post)

    async def announce_release(self, connection: AsyncConnection, release: Release, guild_id: int) -> None:
        """Have a release posted in a server, in the transaction that makes it; a repetition changes nothing."""
        argument: JsonObject = {"model_id": release.model_id, "number": release.number, "guild_id": guild_id}
        await self._engine.submit(
            connection, WORKFLOW, workflow_id(release.model_id, release.number), argument, queue=BOT_QUEUE
        )

    async def run(self, model_id: str, number: int, guild_id: int) -> None:
        """Made → filmstrip, or a reason in the log → posted, unless it is taken back before."""
        await self._make_filmstrip(model_id, number)
        pause = AGAIN_S
        for _ in range(MOST_TRIES):
            if await step("post the release", self._try_to_post, model_id, number, guild_id):
                return
            await Engine.sleep(pause)
            pause = min(pause * 2, LONGEST_AGAIN_S)
        log.error("Release %d of %s could not be posted.", number, model_id)

    # ------------------------------------------------------------------ the filmstrip

    async def _make_filmstrip(self, model_id: str, number: int) -> None:
        """Have a worker make the filmstrip, if one does within the time; whatever fails stands in the log."""
        if await step("ask for the filmstrip", self._ask, model_id, number):
            await step("bring the filmstrip", self._bring, model_id, number)

    async def _ask(self, model_id: str, number: int) -> bool:
        """Enqueue the job of the filmstrip; return False where there is none."""
        job = await self._filmstrip_job(model_id, number)
        if job is None:
            return False
        queue = release_queue(self._model_class, model_id)
        async with self._database.begin() as connection:
            await self._engine.submit(
                connection, FILMSTRIP_WORKFLOW, job_id(model_id, number), job.to_json(), queue=queue, member_id=LANE
            )
        return True

    async def _bring(self, model_id: str, number: int) -> None:
        """Wait for the filmstrip, and keep it; a job that takes too long is cancelled."""
        async with self._database.connect() as connection:
            release = await releases.get_or_none(connection, model_id, number)
        until_ms = (0 if release is None else release.made_at_ms) + 1000 * LONGEST_WAIT_S
        try:
            while (end := await self._engine.result(job_id(model_id, number))) is None:
                if now_ms() > until_ms:
                    log.warning("Release %d is posted without a filmstrip: no worker made it in time.", number)
                    await self._engine.cancel(job_id(model_id, number))
                    return
                await asyncio.sleep(POLL_S)
        except WorkCancelledError:
            log.warning("The filmstrip of release %d was given up by the workers.", number)
            return
        strip = read_answer(FilmstripResult, end)
        if isinstance(strip, FilmstripResult):
            await self._keep(model_id, number, strip.png)
        else:
            log.warning("Release %d has no filmstrip: %s", number, strip.reason)

    async def _filmstrip_job(self, model_id: str, number: int) -> FilmstripJob | None:
        """Return the job, with the adapters on offer that it needs; None where the release's own is not here.

        Releases that were taken back are left out: members live with those that stood.
        """
        async with self._database.connect() as connection:
            history = await releases.history(connection, model_id, most=2 * MOST_SHOWN)
        wanted = [
            each
            for each in reversed(history)
            if each.number == number or (each.number < number and each.state != ReleaseState.ROLLED_BACK)
        ]
        names = []
        for release in wanted[-MOST_SHOWN:]:
            try:
                path = adapter_path(self._data_dir, release.adapter_sha256)
                await offer(self._database, path, release.adapter_sha256)
                names.append(ReleaseName(release.number, release.adapter_sha256))
            except AdapterError as error:
                log.warning("Release %d is left out of a filmstrip: %s", release.number, error)
        if not names or names[-1].number != number:
            return None
        return FilmstripJob(PROMPT, SEED, model_id, names)

    async def _keep(self, model_id: str, number: int, png: str) -> None:
        try:
            await asyncio.to_thread(keep_filmstrip, self._data_dir, model_id, number, png)
        except OSError as error:
            log.warning("The filmstrip of release %d could not be written (%s).", number, error.strerror)

    # ------------------------------------------------------------------ the post

    async def _try_to_post(self, model_id: str, number: int, guild_id: int) -> bool:
        """Post the release; return True where it is posted, or is not to be."""
        async with self._database.connect() as connection:
            release = await releases.get_or_none(connection, model_id, number)
            if release is None or release.state == ReleaseState.ROLLED_BACK:
                return True
            [facts] = await releases.facts(connection, [release])
            before = None
            if release.parent is not None:
                before = await releases.get_or_none(connection, model_id, release.parent)
        channel_id = await rounds.rounds_channel_or_none(self._database, guild_id)
        if channel_id is None:
            log.warning("Release %d is not posted: the server %d has no channel for rounds.", number, guild_id)
            return True
        strip = await asyncio.to_thread(read_filmstrip, self._data_dir, model_id, number)
        obstacle = await self._posts.post(channel_id, facts, before=before, filmstrip=strip, prompt=PROMPT)
        if obstacle is not None:
            log.warning("The post of release %d is not up yet: %s", number, obstacle.sentence)
        return obstacle is None
