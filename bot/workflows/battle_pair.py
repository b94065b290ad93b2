"""The workflow of a pair of a battle round: both videos are rendered, brought here, and made blind.

Whatever goes wrong leaves this pair out, with a reason, and holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import TypedDict, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.domain.battles import Battle, BattlePair, BattleVideo, PairPlan
from bot.domain.reviews import describe_flags
from bot.domain.rounds import NOT_CLOSED
from bot.files.attachments import delete_rendered, read_here
from bot.files.blind import NotBlindError, blind_pair, keep_shown
from bot.files.transfer import FileTransfer
from bot.store.battles import rounds as battles
from bot.workflows.battle_parts import JobOf, LeftOutError
from bot.workflows.steps import step
from bot.workflows.video_queue import MOST_RENDERS
from generation.answers import read_answer
from generation.feedback.registration import read_registration
from generation.jobs import RENDER_WORKFLOW, RenderResult
from generation.log_context import about
from generation.queue.engine import Engine, WorkCancelledError
from generation.strict_json import JsonObject
from migrations.states.battles import PairState

log = logging.getLogger(__name__)

WORKFLOW = "battle_pair_life"
LANES = 4  # of a round's renders at once, at most: the rest of the workers is for members
PADDING = 1024  # bytes that a blind video may have more than the rendered one
UNFORESEEN = "Something went wrong on our side. The operator can see it in the log."
NOT_WANTED = "The round closed before its videos were made."
WRONG_MODEL = "A worker rendered with another model than the one that the round was registered for."


def workflow_id(pair_id: int) -> str:
    """Return the id of the workflow of a pair."""
    return f"battle-pair-{pair_id}"


def render_id(video_id: str, attempt: int) -> str:
    """Return the id of the render job of a video's attempt, counted from 1."""
    return f"battle-{video_id}-render-{attempt}"


class _Side(TypedDict):
    """A video to render: its job, and its queue."""

    job: JsonObject
    queue: str
    lane: int
    revision: str  # of the base model, as it is registered


class BattlePairWorkflow:
    """Makes the two videos of a pair."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        client: Client,
        transfer: FileTransfer,
        data_dir: Path,
        job_of: JobOf,
    ) -> None:
        self._database = database
        self._client = client
        self._transfer = transfer
        self._data_dir = data_dir
        self._job_of = job_of

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def battle_pair_life(argument: JsonObject) -> JsonObject:
            with about(round=argument["round_id"]):
                return await self.run(cast(int, argument["pair_id"]))

        engine.workflow(WORKFLOW)(battle_pair_life)

    async def run(self, pair_id: int) -> JsonObject:
        """Waiting → both sides rendered, brought and made blind → ready; or left out."""
        reason: str | None
        try:
            for is_first in (True, False):
                await self._make(pair_id, is_first)
            reason = await step("make the pair blind", self._show, pair_id)
        except LeftOutError as error:
            reason = str(error)
        except Exception:
            log.exception("The workflow of pair %d ended by an unforeseen error.", pair_id)
            reason = UNFORESEEN
        await step("settle the pair", self._settle, pair_id, reason)
        return {"pair_id": pair_id}

    async def _make(self, pair_id: int, is_first: bool) -> None:
        """Render one side and bring its file here, again if the machine was lost that had it."""
        for attempt in range(1, MOST_RENDERS + 1):
            side = await step("look", self._side, pair_id, is_first)
            if side is None:
                raise LeftOutError(NOT_WANTED)
            result = await self._render(pair_id, side, attempt)
            if (result.release, result.model_revision) != (side["job"].get("release"), side["revision"]):
                log.error("The worker %s rendered pair %d with another model.", result.machine, pair_id)
                raise LeftOutError(WRONG_MODEL)
            if describe_flags(result.findings) is not None:
                raise LeftOutError("A video was flagged, and nobody reviews those of a battle round.")
            video_id = str(side["job"]["video_id"])
            await step("rendered", self._record, video_id, result)
            if await step("bring the video", self._bring, pair_id, is_first, attempt, result.machine):
                return
        raise LeftOutError("The machine that held a video went away three times.")

    async def _render(self, pair_id: int, side: _Side, attempt: int) -> RenderResult:
        video_id = str(side["job"]["video_id"])
        try:
            end = await Engine.delegate(
                RENDER_WORKFLOW,
                render_id(video_id, attempt),
                side["job"],
                queue=side["queue"],
                member_id=side["lane"],
                unwanted=partial(self._unwanted, pair_id),
            )
        except WorkCancelledError:
            raise LeftOutError("The workers could not render a video.") from None
        answer = read_answer(RenderResult, end)
        if not isinstance(answer, RenderResult):
            raise LeftOutError(answer.reason)
        return answer

    async def _side(self, pair_id: int, is_first: bool) -> _Side | None:
        """Return the video to render; None once nobody wants it any more."""
        if await self._unwanted(pair_id):
            return None
        battle, pair = await self._load(pair_id)
        video = (await battles.videos_of(self._database, pair_id))[0 if is_first else 1]
        prompt = pair.prompt
        contender = battle.candidate if is_first else battle.live
        if pair.decoy is not None:  # a catch pair: the live model twice, once with another prompt
            prompt, contender = (pair.prompt if is_first else pair.decoy), battle.live
        guild = self._client.get_guild(battle.round.guild_id)
        fit = None if guild is None else int(guild.filesize_limit) - PADDING
        queued = await self._job_of(contender, video.id, PairPlan(pair.number, prompt, pair.seed), fit)
        revision = read_registration(battle.registration).base_revision
        lane = -1 - pair.number % LANES
        return {"job": queued.job.to_json(), "queue": queued.queue, "lane": lane, "revision": revision}

    async def _load(self, pair_id: int) -> tuple[Battle, BattlePair]:
        pair = await battles.pair_or_none(self._database, pair_id)
        assert pair is not None  # noqa: S101  # written in the transaction that began the round
        return await battles.get(self._database, pair.round_id), pair

    async def _unwanted(self, pair_id: int) -> bool:
        battle, pair = await self._load(pair_id)
        return pair.state != PairState.WAITING or battle.round.status not in NOT_CLOSED

    async def _record(self, video_id: str, result: RenderResult) -> None:
        await battles.change_video(
            self._database,
            video_id,
            video_path=result.video_path,
            sha256=result.sha256,
            size_bytes=result.size_bytes,
            provenance=result.provenance,
        )

    async def _bring(self, pair_id: int, is_first: bool, attempt: int, machine: str) -> bool:
        battle, _ = await self._load(pair_id)
        video = (await battles.videos_of(self._database, pair_id))[0 if is_first else 1]
        unwanted = partial(self._unwanted, pair_id)
        return await self._transfer.bring_file(video, battle.round.guild_id, attempt, machine, unwanted)

    async def _show(self, pair_id: int) -> str | None:
        """Write both videos as members will see them. Return the reason why the pair cannot be shown, if any."""
        both = await battles.videos_of(self._database, pair_id)
        files = [await asyncio.to_thread(read_here, video, self._data_dir) for video in both]
        if files[0] is None or files[1] is None:
            return "The file of a video was lost before it could be shown."
        battle, _ = await self._load(pair_id)
        try:
            shown = await asyncio.to_thread(blind_pair, files[0], files[1])
        except NotBlindError as error:
            return str(error)
        guild = self._client.get_guild(battle.round.guild_id)
        if guild is not None and len(shown[0]) > guild.filesize_limit:
            return "A video is larger than the files that Discord accepts in this server."
        for video, data in zip(both, shown, strict=True):
            await self._keep(video, data)
        return None

    async def _keep(self, video: BattleVideo, data: bytes) -> None:
        shown_sha256 = await asyncio.to_thread(keep_shown, video.id, data, self._data_dir)
        await battles.change_video(self._database, video.id, shown_sha256=shown_sha256)

    async def _settle(self, pair_id: int, reason: str | None) -> None:
        """Let the pair be ready, or leave it out for a reason; what a moderator or the close decided before stands."""
        state = PairState.READY if reason is None else PairState.LEFT_OUT
        async with self._database.begin() as connection:
            await battles.change_state(connection, pair_id, PairState.WAITING, state, reason)
        if reason is not None:
            log.warning("Pair %d is left out: %s", pair_id, reason)
        for video in await battles.videos_of(self._database, pair_id):
            await self._transfer.drop(video)
            if reason is not None:  # nobody will be shown what was made of it
                await asyncio.to_thread(delete_rendered, video, self._data_dir)
