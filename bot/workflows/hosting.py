"""The workflow that brings a rendered video to its host: an upload address, the bytes, and the wait until it plays.

The video's own workflow waits for it for a while and then goes on: a video whose file is at hand is posted without its
host, and the link is added to the card when it comes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypedDict, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.videos import Video
from bot.posts.videos import VideoPosts
from bot.retry import GivenUpError, patiently
from bot.store import videos
from bot.workflows.steps import HostingEnd, step
from generation.answers import Done, read_answer
from generation.hosting.host import (
    AssetFailed,
    AssetMissing,
    HostedAsset,
    HostError,
    HostRejected,
    NotReady,
    Playback,
    UploadTicket,
    VideoHost,
    claim_upload,
)
from generation.jobs import UPLOAD_WORKFLOW, JobEnd, UploadJob, upload_queue
from generation.log_context import about
from generation.queue.engine import Engine, WorkCancelledError
from generation.strict_json import JsonObject
from migrations.states.community import VideoStatus

log = logging.getLogger(__name__)

T = TypeVar("T")

WORKFLOW = "hosting_life"
MOST_UPLOADS = 3
NOT_TAKEN = "The video host rejected the video three times."
OUTAGE = (
    "The video host isn't responding. Your video is safe: it will be posted as soon as the host is back, "
    "or without its link if that takes long."
)
UNFORESEEN = "Something went wrong on our side. The operator can see it in the log."


def workflow_id(video_id: str, attempt: int) -> str:
    """Return the id of the hosting of what was rendered at an attempt."""
    return f"video-{video_id}-hosting-{attempt}"


class Ticket(TypedDict, total=False):
    """The result of the step that asks for an upload address: a ticket, an asset that is uploaded, or an end."""

    asset_id: str
    playback_id: str | None
    tus_endpoint: str
    presigned: JsonObject | None
    outcome: str
    reason: str


class HostProblem(TypedDict):
    """The host failed the video, and says why. A new asset may help."""

    problem: str


class HostingWorkflow:
    """Hosts videos. Each hosting ends with a `HostingEnd`."""

    def __init__(self, *, database: AsyncEngine, host: VideoHost, posts: VideoPosts) -> None:
        self._database = database
        self._host = host
        self._posts = posts

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def hosting_life(argument: JsonObject) -> HostingEnd:
            video_id = str(argument["video_id"])
            with about(video=video_id):
                return await self.run(video_id, cast(int, argument["attempt"]), str(argument["machine"]))

        engine.workflow(WORKFLOW)(hosting_life)

    async def run(self, video_id: str, attempt: int, machine: str) -> HostingEnd:
        """Address → bytes → playable, again with a new asset where one was lost or got stuck."""
        try:
            end = await self._bring_to_host(video_id, attempt, machine)
        except Exception:
            log.exception("The hosting of video %s ended by an unforeseen error", video_id)
            end = HostingEnd(outcome="failed", reason=UNFORESEEN)
        if end["outcome"] == "hosted":
            await step("add the link", self._posts.add_link, video_id)
        elif end["outcome"] == "cancelled":
            await step("leave nothing at the host", self.leave_nothing, video_id)
        else:
            log.warning("Video %s is not hosted: %s", video_id, end.get("reason"))
        return end

    async def _bring_to_host(self, video_id: str, attempt: int, machine: str) -> HostingEnd:
        for number in range(1, MOST_UPLOADS + 1):
            ticket = await step("ask for an upload address", self._request_upload, video_id)
            if "outcome" in ticket:
                return cast(HostingEnd, ticket)
            if "tus_endpoint" in ticket:
                end = await self._send_file(f"video-{video_id}-upload-{attempt}-{number}", video_id, ticket, machine)
                if isinstance(end, JobEnd):
                    if end.outcome == "upload_gone":
                        continue
                    if end.outcome == "cancelled":
                        why: str | None = await step("why it ended", self._why_ended, video_id)
                        return HostingEnd(outcome="cancelled", reason=why or end.reason)
                    return HostingEnd(outcome=end.outcome, reason=end.reason)
            hosted = await step("wait for the host", self._wait_for_host, video_id)
            if "outcome" in hosted:
                return cast(HostingEnd, hosted)
            log.warning("Video %s: the host failed it: %s", video_id, hosted["problem"])
        return HostingEnd(outcome="failed", reason=NOT_TAKEN)

    async def _send_file(self, upload_id: str, video_id: str, ticket: Ticket, machine: str) -> Done | JobEnd:
        """Let the machine that holds the file send it. A machine that is gone has lost the file."""
        job = await step("look", self._upload_job, video_id, ticket)
        try:
            end = await Engine.delegate(UPLOAD_WORKFLOW, upload_id, job, queue=upload_queue(machine))
        except WorkCancelledError:
            return JobEnd("file_missing", "The worker's machine was lost while it had the video.")
        return read_answer(Done, end)

    async def _upload_job(self, video_id: str, ticket: Ticket) -> JsonObject:
        video = await self._video(video_id)
        job = UploadJob(
            video_id,
            ticket["asset_id"],
            ticket["tus_endpoint"],
            video.video_path or "",
            video.sha256 or "",
            ticket.get("presigned"),
            self._host.shortest_s,
        )
        return job.to_json()

    async def _request_upload(self, video_id: str) -> Ticket:
        """Return an address to upload to, or only the asset if the host has its bytes from an earlier attempt."""
        video = await self._video(video_id)

        async def ask() -> UploadTicket | HostedAsset:
            return await claim_upload(
                self._host, video.asset_name, creator=f"discord:{video.member_id}", size_bytes=video.size_bytes or 0
            )

        try:
            claimed = await self._while_wanted(video_id, ask)
        except _EndedError as end:
            return cast(Ticket, end.end)
        await videos.change(self._database, video_id, asset_id=claimed.asset_id, playback_id=claimed.playback_id)
        return cast(Ticket, claimed.to_json()) if isinstance(claimed, UploadTicket) else {"asset_id": claimed.asset_id}

    async def _wait_for_host(self, video_id: str) -> HostingEnd | HostProblem:
        """Wait until the host can play the video. Return a `problem` where a new asset may help."""
        video = await self._video(video_id)
        asset_id = video.asset_id or ""
        await videos.begin_hosting(self._database, video_id)

        async def wait() -> Playback | str:
            try:
                return await self._host.wait_until_playable(asset_id)
            except (AssetFailed, AssetMissing) as error:
                return str(error)
            except NotReady as error:  # stuck: a new asset has a better chance than more patience
                await self._host.delete(asset_id)
                return str(error)

        try:
            playback = await self._while_wanted(video_id, wait)
        except _EndedError as end:
            return end.end
        if isinstance(playback, str):
            return {"problem": playback}
        await videos.change(
            self._database,
            video_id,
            playback_id=playback.playback_id,
            playback_url=playback.mp4_url or playback.hls_url,
            page_url=playback.page_url,
        )
        return HostingEnd(outcome="hosted", reason="")

    async def _while_wanted(self, video_id: str, call: Callable[[], Awaitable[T]]) -> T:
        """Wait out an outage as long as the video is wanted. Raises _EndedError."""

        async def note_outage() -> None:
            await videos.set_note(self._database, video_id, OUTAGE)

        async def unwanted() -> bool:
            return await self._why_ended(video_id) is not None

        try:
            result = await patiently("The video host", call, unwanted=unwanted, on_trouble=note_outage)
            await videos.set_note(self._database, video_id, None)
        except GivenUpError:
            why = await self._why_ended(video_id)
            raise _EndedError(HostingEnd(outcome="cancelled", reason=why or "Cancelled.")) from None
        except HostRejected as error:
            reason = f"The video host refused the video: {error}"
            raise _EndedError(HostingEnd(outcome="failed", reason=reason)) from error
        return result

    async def _why_ended(self, video_id: str) -> str | None:
        """Return why nobody wants the video any more; None while it is wanted."""
        video = await self._video(video_id)
        ended = video.cancel_requested or video.status in {
            VideoStatus.FAILED,
            VideoStatus.CANCELLED,
            VideoStatus.REMOVED,
        }
        return (video.reason or "Cancelled.") if ended else None

    async def _video(self, video_id: str) -> Video:
        return await videos.get(self._database, video_id)

    async def leave_nothing(self, video_id: str) -> None:
        """Delete the asset of a video that nobody wants any more."""
        video = await self._video(video_id)
        if video.asset_id is None:
            return
        try:
            await self._host.delete(video.asset_id)
        except HostError as error:
            if error.retryable:
                raise
            log.error("Video %s could not be deleted at the host: %s", video_id, error)


class _EndedError(Exception):
    """The hosting ends before the host plays the video."""

    def __init__(self, end: HostingEnd) -> None:
        self.end = end
        super().__init__(end["reason"])
