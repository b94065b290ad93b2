"""The workflow of a video, from the queue to the voting thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.domain.reviews import describe_flags
from bot.domain.videos import OVER, Video
from bot.files.attachments import delete_rendered, read_here
from bot.files.tastes import Tastes
from bot.files.transfer import FileTransfer
from bot.posts.progress import ProgressMessages
from bot.posts.videos import PostError, VideoPosts
from bot.store import rounds, videos
from bot.store.learning import releases
from bot.sync.reactions import ReactionSync
from bot.workflows import hosting as hosting_workflow
from bot.workflows.review import ReviewWorkflow
from bot.workflows.steps import HostingEnd, step
from bot.workflows.video_queue import MOST_RENDERS, WORKFLOW, render_id
from generation.adapters.file import adapter_path
from generation.adapters.transfer import offer
from generation.answers import read_answer
from generation.jobs import BOT_QUEUE, RENDER_WORKFLOW, ReleaseName, RenderJob, RenderResult
from generation.log_context import about
from generation.queue.engine import Engine, WorkCancelledError
from generation.strict_json import JsonObject
from migrations.database import now_ms
from migrations.states.community import ReviewState, VideoStatus

log = logging.getLogger(__name__)

HOSTING_POLL_S = 0.5
LOOK_AGAIN_S = 10.0  # between two checks that a video can be posted without its host
UNFORESEEN = "Something went wrong on our side. The operator can see it in the log."
TOO_LARGE = "Your video is larger than the files that Discord accepts in this server"
UNTIL_HOSTED = f"{TOO_LARGE}. It will be posted as soon as the video host can play it."
NOWHERE = f"{TOO_LARGE}, and the video host has no copy to show instead. Please tell a moderator."
WRONG_RELEASE = "The worker rendered with another version of the model. Please ask again; the operator is told."
CLOSED_BEFORE = f"{TOO_LARGE}, and the round closed before the video host could play it."

Ended = Literal["failed", "cancelled"]


class EndedError(Exception):
    """The workflow ends before the video is posted; the reason is a sentence for the member."""

    def __init__(self, status: Ended, reason: str) -> None:
        self.status: Ended = status
        self.reason = reason
        super().__init__(reason)


class Outcome(TypedDict):
    """The result of a step that may end the workflow, or of the post."""

    ended: NotRequired[Ended]
    reason: NotRequired[str]
    linked: NotRequired[bool]  # the card was posted with its link to the host


class VideoWorkflow:
    """Has a video rendered, reviewed where needed, hosted and posted."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        client: Client,
        posts: VideoPosts,
        progress: ProgressMessages,
        reviews: ReviewWorkflow,
        transfer: FileTransfer,
        reactions: ReactionSync,
        data_dir: Path,
        model_class: str,
        tastes: Tastes,
        host_patience_s: float,
    ) -> None:
        """`host_patience_s` is how long a video whose file is at hand waits for its host before it is posted."""
        self._database = database
        self._engine = engine
        self._client = client
        self._posts = posts
        self._progress = progress
        self._reviews = reviews
        self._transfer = transfer
        self._reactions = reactions
        self._data_dir = data_dir
        self._model_class = model_class
        self._tastes = tastes
        self._host_patience_s = host_patience_s

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def video_life(argument: JsonObject) -> JsonObject:
            video_id = str(argument["video_id"])
            with about(video=video_id):
                return await self.run(video_id)

        engine.workflow(WORKFLOW)(video_life)

    async def run(self, video_id: str) -> JsonObject:
        """Queued → rendering → uploading → hosting → posting → published; or failed, or cancelled."""
        log.info("The workflow of a video begins, or goes on after a restart.")
        try:
            hosting = await self._make(video_id)
            log.info("It is posted next.")
            posted = await self._try("post", partial(self._post, hosting=hosting), video_id)
            if not posted.get("linked"):
                await step("add a link that came meanwhile", self._posts.add_link, video_id)
        except EndedError as end:
            log.info("It ends early, as %s: %s", end.status, end.reason)
            await step("end", videos.end, self._database, video_id, VideoStatus(end.status), end.reason)
        except Exception:
            log.exception("The workflow of video %s ended by an unforeseen error", video_id)
            await step("end", videos.end, self._database, video_id, VideoStatus.FAILED, UNFORESEEN)
        await step("tell the member", self._finish, video_id)
        log.info("The workflow of the video is complete.")
        return {"video_id": video_id}

    async def _try(self, name: str, function: Callable[[str], Awaitable[Outcome | None]], video_id: str) -> Outcome:
        """Run a step that may end the workflow; its result says so, see `steps.step`."""

        async def body() -> Outcome:
            try:
                return await function(video_id) or {}
            except EndedError as end:
                return {"ended": end.status, "reason": end.reason}

        result = await step(name, body)
        if "ended" in result:
            raise EndedError(result["ended"], result["reason"])
        return result

    # ------------------------------------------------------------------ the render

    async def _make(self, video_id: str) -> str:
        """Render and hand over to the host, again if the machine was lost that had the file.

        Returns the id of the hosting, which may still go on.
        """
        for attempt in range(1, MOST_RENDERS + 1):
            result = await self._render(video_id, attempt)
            await step("rendered", videos.record_render, self._database, video_id, result)
            bring = partial(self._transfer.bring, video_id, attempt, result.machine)
            flagged = describe_flags(result.findings)
            if flagged is not None:  # before it is sent anywhere: what is at the host can be watched
                await self._try("wait for a moderator", partial(self._approved, flagged=flagged, bring=bring), video_id)
            hosting = hosting_workflow.workflow_id(video_id, attempt)
            argument: JsonObject = {"video_id": video_id, "attempt": attempt, "machine": result.machine}
            await Engine.hand_over(hosting_workflow.WORKFLOW, hosting, argument, queue=BOT_QUEUE)
            end = await step("wait for the host", self._until_hosted, video_id, hosting, bring)
            if end["outcome"] in {"hosted", "late"}:
                return hosting
            if end["outcome"] != "file_missing":
                raise EndedError("cancelled" if end["outcome"] == "cancelled" else "failed", end["reason"])
        raise EndedError("failed", "The machine that held your video went away three times.")

    async def _render(self, video_id: str, attempt: int) -> RenderResult:
        job = await step("look", self._render_job, video_id)
        wanted = job["job"].get("release")
        try:
            end = await Engine.delegate(
                RENDER_WORKFLOW,
                render_id(video_id, attempt),
                job["job"],
                queue=RenderJob.from_json(job["job"]).queue(self._model_class),
                member_id=job["member_id"],
                unwanted=lambda: self._cancelled(video_id),
            )
        except WorkCancelledError:
            reason = await step("why it ended", self._cancel_reason, video_id)
            if reason is None:
                raise EndedError("failed", "Three workers crashed while they rendered this prompt.") from None
            raise EndedError("cancelled", reason) from None
        answer = read_answer(RenderResult, end)
        if isinstance(answer, RenderResult):
            if answer.release != wanted:
                log.error("The worker %s rendered with another release than it was asked for.", answer.machine)
                raise EndedError("failed", WRONG_RELEASE)
            return answer
        if answer.outcome == "cancelled":
            reason = await step("why it ended", self._cancel_reason, video_id)
            raise EndedError("cancelled", reason or answer.reason)
        raise EndedError("failed", answer.reason)

    async def _render_job(self, video_id: str) -> _RenderStep:
        video = await self._video(video_id)
        guild = self._client.get_guild(video.guild_id)
        async with self._database.connect() as connection:
            live = await releases.live_or_none(connection, video.model_id)
        if live is not None:  # before any worker asks for it
            path = adapter_path(self._data_dir, live.adapter_sha256)
            await offer(self._database, path, live.adapter_sha256)
        job = RenderJob(
            video_id=video.id,
            prompt=video.prompt,
            seed=video.seed,
            model_id=video.model_id,
            fit_bytes=None if guild is None else int(guild.filesize_limit),
            release=None if live is None else ReleaseName(live.number, live.adapter_sha256),
            best_of=await self._tastes.choice_for(video.model_id, live),
        )
        return {"job": job.to_json(), "member_id": video.member_id}

    async def _cancelled(self, video_id: str) -> bool:
        return (await self._video(video_id)).cancel_requested

    async def _cancel_reason(self, video_id: str) -> str | None:
        video = await self._video(video_id)
        return video.reason if video.cancel_requested else None

    async def _approved(self, video_id: str, *, flagged: str, bring: Callable[[], Awaitable[bool]]) -> None:
        """Wait until a moderator approves the video. Raises EndedError when none does, or nobody wants it."""
        await bring()  # so that moderators can watch it
        review = await self._reviews.until_video_decided(await self._video(video_id), flagged)
        if review.state == ReviewState.APPROVED:
            return
        video = await self._video(video_id)
        await asyncio.to_thread(delete_rendered, video, self._data_dir)
        if review.state == ReviewState.REJECTED:
            raise EndedError("cancelled", f"A moderator did not approve this video. {review.reason or ''}".rstrip())
        raise EndedError("cancelled", video.reason or "Cancelled.")

    # ------------------------------------------------------------------ the host

    async def _until_hosted(self, video_id: str, hosting: str, bring: Callable[[], Awaitable[bool]]) -> HostingEnd:
        """Return how the hosting ended, or "late" when the video can be posted without it and has waited long enough.

        The file is brought to this machine as well: the card shows the original, with or without a host.
        """
        clock = asyncio.get_running_loop().time
        late = clock() + self._host_patience_s
        await bring()
        while True:
            end = await self._end_of(hosting)
            if end is not None and end["outcome"] != "failed":
                return end
            if (end is not None or clock() >= late) and await self._can_be_posted_alone(video_id):
                log.warning("The video is posted without a link: its host does not play it yet.")
                return HostingEnd(outcome="late", reason="")
            if end is not None:
                return end
            if clock() >= late:
                late = clock() + LOOK_AGAIN_S
            await asyncio.sleep(HOSTING_POLL_S)

    async def _end_of(self, hosting: str) -> HostingEnd | None:
        try:
            return cast("HostingEnd | None", await self._engine.result(hosting))
        except WorkCancelledError:
            return HostingEnd(outcome="failed", reason=hosting_workflow.UNFORESEEN)

    async def _can_be_posted_alone(self, video_id: str) -> bool:
        """Return True if the file is on this machine, and small enough for the server's thread."""
        video = await self._video(video_id)
        if video.cancel_requested or await asyncio.to_thread(read_here, video, self._data_dir) is None:
            return False
        return await self._posts.fits(video)

    # ------------------------------------------------------------------ Discord

    async def _post(self, video_id: str, *, hosting: str) -> Outcome:
        """Post the card in the voting thread, once. From then on the video takes votes."""
        video = await self._video(video_id)
        if video.status in OVER:
            return {}
        again = video.status == VideoStatus.POSTING  # an attempt whose answer was lost may have got through
        await videos.advance(self._database, video_id, VideoStatus.POSTING)
        try:
            card = await self._posts.post(
                video, again=again, until_hosted=partial(self._once_hosted, video_id, hosting)
            )
        except PostError as error:
            raise EndedError("failed", str(error)) from None
        if not await videos.publish(self._database, video_id, thread_id=card.thread_id, message_id=card.message_id):
            await self._posts.take_back(card)
            raise EndedError("failed", "The round closed just before your video could be posted.")
        return {"linked": card.has_link}

    async def _once_hosted(self, video_id: str, hosting: str) -> Video:
        """Wait until the host plays the video. Raises EndedError when it will not, or not before the round closes."""
        noted = False
        while True:
            end = await self._end_of(hosting)  # asked first: a hosting that has ended has left its address
            video = await self._video(video_id)
            if video.playback_url:
                await videos.set_note(self._database, video_id, None)
                return video
            if end is not None or video.status in OVER:
                raise EndedError("failed", NOWHERE)
            round_ = await rounds.get(self._database, video.round_id)
            if not round_.accepts_votes(now_ms()):
                raise EndedError("failed", CLOSED_BEFORE)
            if not noted:
                await videos.set_note(self._database, video_id, UNTIL_HOSTED)
                noted = True
            await asyncio.sleep(HOSTING_POLL_S)

    async def _finish(self, video_id: str) -> None:
        video = await self._video(video_id)
        if (
            video.status == VideoStatus.PUBLISHED
        ):  # a quick member may have reacted before the card was known to take votes
            await self._reactions.look_at(video_id)
        await self._transfer.drop(video)
        await self._progress.finish(video_id)

    async def _video(self, video_id: str) -> Video:
        return await videos.get(self._database, video_id)


class _RenderStep(TypedDict):
    job: JsonObject
    member_id: int
