"""The life of a video, from the queue to the voting thread, as one readable workflow."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import discord
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cards import videos as video_cards
from bot.domain.reviews import describe_flags
from bot.domain.videos import OVER, Video
from bot.files.attachments import attachment, delete_rendered, read_here
from bot.posts.once import is_too_large, post_once
from bot.retry import patiently, step
from bot.store import rounds, videos
from bot.workflows import hosting as hosting_life
from generation.jobs import BOT_QUEUE, RENDER_WORKFLOW, RenderJob, RenderResult, gpu_queue
from generation.log_context import about
from generation.queue.engine import Engine, WorkCancelledError
from migrations.database import now_ms
from migrations.states_community import VideoStatus

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

WORKFLOW = "video_life"
MOST_RENDERS = 3  # a rendered file can be lost with its machine: then the same seed is rendered again
HOSTING_POLL_S = 0.5
REFUSED_S = 3600.0  # after which a size that Discord has refused is tried again: it may have been a mishap
ALONE_AGAIN_S = 10.0  # until it is looked again whether a video can be posted without its host
UNFORESEEN = "Something went wrong on our side; the operator has been told."
TOO_LARGE = "Discord does not take a file as large as your video here"
UNTIL_HOSTED = f"{TOO_LARGE}. It is posted as soon as the video host plays it."
NOWHERE = f"{TOO_LARGE}, and the video host has no copy that could be shown instead. Please tell a moderator."
CLOSED_BEFORE = f"{TOO_LARGE}, and the round closed before the video host could play it."

Json = dict[str, Any]


class EndedError(Exception):
    """The video's life ends early; the reason is a sentence for the member."""

    def __init__(self, status: Literal["failed", "cancelled"], reason: str) -> None:
        self.status = VideoStatus(status)
        self.reason = reason
        super().__init__(reason)


class VideoLife:
    """Begins, cancels and lives the lives of videos."""

    def __init__(self, app: App) -> None:
        self.app = app
        # By guild: bytes of the smallest file that Discord has refused there, and until when that is believed.
        self._refused: dict[int, tuple[int, float]] = {}

    def register(self, engine: Engine) -> None:
        """Makes the workflow known to the engine, before it is launched."""

        async def video_life(argument: Json) -> Json:
            with about(video=argument["video_id"]):
                return await self.live(str(argument["video_id"]))

        engine.workflow(WORKFLOW)(video_life)

    async def begin(self, connection: AsyncConnection, video_id: str) -> None:
        """Begins a life in the transaction that writes the video's row."""
        await self.app.engine.submit(connection, WORKFLOW, f"video-{video_id}", {"video_id": video_id}, queue=BOT_QUEUE)

    async def cancel(self, video_id: str, reason: str) -> bool:
        """Cancels a video that is still being made; False when it is too late."""
        if not await videos.request_cancel(self.app.database, video_id, reason):
            return False
        await self.end_renders(video_id)
        return True

    async def end_renders(self, video_id: str) -> None:
        """Takes the render of a video whose end was requested out of the queue; a running one sees the request."""
        for attempt in range(1, MOST_RENDERS + 1):
            await self.app.engine.cancel(f"video-{video_id}-render-{attempt}")

    # ------------------------------------------------------------------ the workflow

    async def live(self, video_id: str) -> Json:
        """Queued → rendering → uploading → hosting → posting → published; or failed, or cancelled."""
        log.info("The life of a video begins, or goes on after a restart.")
        try:
            hosting = await self._make(video_id)
            log.info("It is posted next.")
            posted = await self._try("post", partial(self._post, hosting=hosting), video_id)
            if not posted.get("linked"):
                await step("add a link that came meanwhile", self.app.hosting_life.add_link, video_id)
        except EndedError as end:
            log.info("It ends early, as %s: %s", end.status, end.reason)
            await step("end", videos.end, self.app.database, video_id, end.status, end.reason)
        except Exception:
            log.exception("The life of video %s ended by an unforeseen error", video_id)
            await step("end", videos.end, self.app.database, video_id, VideoStatus.FAILED, UNFORESEEN)
        await step("tell the member", self._settle, video_id)
        log.info("The life of the video is complete.")
        return {"video_id": video_id}

    async def _try(self, name: str, function: Callable[[str], Awaitable[Json | None]], video_id: str) -> Json:
        """A step that may end the video's life: it says so in its result, see `patience.step`."""

        async def body() -> Json:
            try:
                return await function(video_id) or {}
            except EndedError as end:
                return {"ended": end.status, "reason": end.reason}

        result = await step(name, body)
        if "ended" in result:
            raise EndedError(result["ended"], result["reason"])
        return result

    async def _make(self, video_id: str) -> str:
        """Renders and hands over to the host, again where the machine was lost that had the file.

        Returns the id of the hosting, which may still go on.
        """
        for attempt in range(1, MOST_RENDERS + 1):
            result = await self._render(video_id, attempt)
            await step("rendered", videos.record_render, self.app.database, video_id, result)
            bring = partial(self.app.originals.bring, video_id, attempt, result.machine)
            flagged = describe_flags(result.findings)
            if flagged is not None:  # before it is sent anywhere: what is at the host can be watched
                await self._try("wait for a moderator", partial(self._approved, flagged=flagged, bring=bring), video_id)
            hosting = hosting_life.workflow_id(video_id, attempt)
            argument = {"video_id": video_id, "attempt": attempt, "machine": result.machine}
            await Engine.hand_over(hosting_life.WORKFLOW, hosting, argument, queue=BOT_QUEUE)
            end = await step("wait for the host", self._until_hosted, video_id, hosting, bring)
            if end["outcome"] in {"hosted", "late"}:
                return hosting
            if end["outcome"] != "file_missing":
                raise EndedError("cancelled" if end["outcome"] == "cancelled" else "failed", end["reason"])
        raise EndedError("failed", "The worker's machine was lost three times while it had your video.")

    async def _approved(self, video_id: str, *, flagged: str, bring: Callable[[], Awaitable[bool]]) -> None:
        """Waits until a moderator lets the video go on. Raises EndedError when none does, or nobody wants it."""
        await bring()  # so that they can watch it
        review = await self.app.review_life.until_video_decided(await self._video(video_id), flagged)
        if review.state == "approved":
            return
        video = await self._video(video_id)
        await asyncio.to_thread(delete_rendered, video, self.app.settings.data_dir)
        if review.state == "rejected":
            raise EndedError("cancelled", f"A moderator has not approved this video. {review.reason or ''}".rstrip())
        raise EndedError("cancelled", video.reason or "Cancelled.")

    async def _until_hosted(self, video_id: str, hosting: str, bring: Callable[[], Awaitable[bool]]) -> Json:
        """How its hosting ended; "late" where the video can be posted without it, and has waited long enough.

        Beside its way to the host, the file comes here: its card shows the original, with or without a host.
        """
        clock = asyncio.get_running_loop().time
        late = clock() + self.app.settings.host_patience_s
        await bring()
        while True:
            end = await self._end_of(hosting)
            if end is not None and end["outcome"] != "failed":
                return end
            if (end is not None or clock() >= late) and await self._can_be_posted_alone(video_id):
                log.warning("The video is posted without a link: its host does not play it yet.")
                return {"outcome": "late"}
            if end is not None:
                return end
            if clock() >= late:
                late = clock() + ALONE_AGAIN_S
            await asyncio.sleep(HOSTING_POLL_S)

    async def _end_of(self, hosting: str) -> Json | None:
        try:
            end: Json | None = await self.app.engine.result(hosting)
        except WorkCancelledError:
            return {"outcome": "failed", "reason": hosting_life.UNFORESEEN}
        return end

    async def _can_be_posted_alone(self, video_id: str) -> bool:
        """Whether the file is on this machine, and small enough for the server's thread."""
        video = await self._video(video_id)
        if video.cancel_requested:
            return False
        if await asyncio.to_thread(read_here, video, self.app.settings.data_dir) is None:
            return False
        round_ = await rounds.get(self.app.database, video.round_id)
        try:
            thread = await self.app.client.channel(round_.thread_id or 0)
        except (discord.NotFound, discord.Forbidden):
            return False
        return (video.size_bytes or 0) <= self._limit_of(thread.guild)

    async def _render(self, video_id: str, attempt: int) -> RenderResult:
        job = await step("look", self._render_job, video_id)
        try:
            end = await Engine.delegate(
                RENDER_WORKFLOW,
                f"video-{video_id}-render-{attempt}",
                job["job"],
                queue=gpu_queue(self.app.settings.model_class, job["job"]["model_id"]),
                member_id=job["member_id"],
                unwanted=lambda: self._cancelled(video_id),
            )
        except WorkCancelledError:
            reason = await step("why it ended", self._cancel_reason, video_id)
            if reason is None:
                raise EndedError("failed", "Three workers died while they rendered this prompt.") from None
            raise EndedError("cancelled", reason) from None
        if end["outcome"] == "done":
            return RenderResult(**{key: value for key, value in end.items() if key != "outcome"})
        if end["outcome"] == "cancelled":
            reason = await step("why it ended", self._cancel_reason, video_id)
            raise EndedError("cancelled", reason or end["reason"])
        raise EndedError("failed", end["reason"])

    async def _render_job(self, video_id: str) -> Json:
        video = await self._video(video_id)
        guild = self.app.client.get_guild(video.guild_id)
        job = RenderJob(
            video_id=video.id,
            prompt=video.prompt,
            seed=video.seed,
            model_id=video.model_id,
            fit_bytes=None if guild is None else int(guild.filesize_limit),
        )
        return {"job": job.to_json(), "member_id": video.member_id}

    async def _cancelled(self, video_id: str) -> bool:
        return (await self._video(video_id)).cancel_requested

    async def _cancel_reason(self, video_id: str) -> str | None:
        video = await self._video(video_id)
        return video.reason if video.cancel_requested else None

    # ------------------------------------------------------------------ Discord

    async def _post(self, video_id: str, *, hosting: str) -> Json:
        """Posts the card in the voting thread, once, and from then on the video takes votes.

        Its result says whether the card has the link to the host, as far as there is one.
        """
        video = await self._video(video_id)
        if video.status in OVER:
            return {}
        tried = video.status == "posting"
        await videos.advance(self.app.database, video_id, VideoStatus.POSTING)

        async def post() -> tuple[int, int, Video]:
            nonlocal tried
            again, tried = tried, True  # an attempt whose answer was lost may have got through
            round_ = await rounds.get(self.app.database, video.round_id)
            thread = await self.app.client.channel(round_.thread_id or 0)
            message, shown = await self._send(thread, video, hosting=hosting, again=again)
            return thread.id, message.id, shown

        try:
            thread_id, message_id, shown = await patiently("Discord", post)
        except (discord.NotFound, discord.Forbidden):
            reason = "The voting thread was deleted, or I may no longer post in it."
            raise EndedError("failed", reason) from None
        if not await videos.publish(self.app.database, video_id, thread_id=thread_id, message_id=message_id):
            await self._take_back(thread_id, message_id)
            raise EndedError("failed", "The round closed just before your video could be posted.")
        return {"linked": shown.link is not None}

    async def _send(self, thread: Any, video: Video, *, hosting: str, again: bool) -> tuple[discord.Message, Video]:
        """Sends the card with its file, or where Discord does not take that, with the host's address alone.

        Returns the message, and the video as its card shows it.
        """
        limit = self._limit_of(thread.guild)
        file, media_url = await attachment(video, self.app.settings.data_dir, limit)
        card = partial(post_once, thread, nonce=video.id, mark=video_cards.custom_id("up", video.id), again=again)
        if file is not None:
            size = len(file.fp.read())
            file.fp.seek(0)
            try:
                return await card(video_cards.video_card(video, media_url, self.app.host_name), file=file), video
            except discord.HTTPException as error:
                if not is_too_large(error):
                    raise
                log.warning("Discord refused a file of %d bytes (HTTP %d, %d).", size, error.status, error.code)
                limit = min(size - 1, self._limit_of(thread.guild))
                self._refused[thread.guild.id] = limit + 1, time.monotonic() + REFUSED_S
        elif not media_url and (video.size_bytes or 0) <= limit:
            raise EndedError("failed", "The file of your video was lost before it could be posted.")
        video = await self._once_hosted(video.id, hosting)
        return await card(video_cards.video_card(video, video.playback_url or "", self.app.host_name)), video

    def _limit_of(self, guild: discord.Guild) -> int:
        """How many bytes a file may have: as Discord says, or less where it has refused one."""
        refused, until = self._refused.get(guild.id, (0, 0.0))
        usual = int(guild.filesize_limit)
        return min(usual, refused - 1) if time.monotonic() < until else usual

    async def _once_hosted(self, video_id: str, hosting: str) -> Video:
        """Waits until the host plays the video. Raises EndedError when it will not, or not before the round closes."""
        told = False
        while True:
            end = await self._end_of(hosting)  # asked first: a hosting that has ended has left its address
            video = await self._video(video_id)
            if video.playback_url:
                await videos.set_note(self.app.database, video_id, None)
                return video
            if end is not None or video.status in OVER:
                raise EndedError("failed", NOWHERE)
            round_ = await rounds.get(self.app.database, video.round_id)
            if not round_.accepts_votes(now_ms()):
                raise EndedError("failed", CLOSED_BEFORE)
            if not told:
                await videos.set_note(self.app.database, video_id, UNTIL_HOSTED)
                told = True
            await asyncio.sleep(HOSTING_POLL_S)

    async def _take_back(self, thread_id: int, message_id: int) -> None:
        try:
            thread = await self.app.client.channel(thread_id)
            await thread.get_partial_message(message_id).delete()
        except discord.HTTPException as error:
            log.warning("A card that came too late could not be deleted: HTTP %s.", error.status)

    async def _settle(self, video_id: str) -> None:
        video = await self._video(video_id)
        if video.status == "published":  # a quick member may have reacted before the card was known to take votes
            await self.app.catching_up.look_at(video_id)
        await self.app.originals.drop(video)
        await self.tell(video_id)

    async def tell(self, video_id: str) -> None:
        """The last edit of the progress message: a link to the post, or the reason why there is none."""
        video = await self._video(video_id)
        if video.progress_message_id is None or video.progress_channel_id is None:
            return
        round_ = await rounds.get(self.app.database, video.round_id)
        card = video_cards.progress_card(video_cards.progress_text(video, round_, None, None), video)

        async def tell() -> None:
            channel = await self.app.client.channel(video.progress_channel_id or 0)
            async with self.app.board.editing(video_id):
                await channel.get_partial_message(video.progress_message_id or 0).edit(view=card)

        try:
            await patiently("Discord", tell)
        except discord.HTTPException as error:
            log.info("The progress message of video %s is gone: HTTP %s.", video_id, error.status)

    async def _video(self, video_id: str) -> Video:
        return await videos.get(self.app.database, video_id)
