"""A rendered video's way to its host: an upload address, the bytes, and the wait until it plays. Its own workflow.

The life of the video waits for it for a while, and then goes on: with the file at hand a video is posted without its
host, whose link is added to the card when it comes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import discord

from bot.cards import videos as video_cards
from bot.domain.videos import Video
from bot.files.attachments import attachment_name
from bot.retry import GivenUpError, patiently, step
from bot.store import videos
from generation.hosting.host import (
    AssetFailed,
    AssetMissing,
    HostedAsset,
    HostError,
    HostRejected,
    NotReady,
    Playback,
    UploadTicket,
    claim_upload,
)
from generation.jobs import UPLOAD_WORKFLOW, UploadJob, upload_queue
from generation.log_context import about
from generation.queue.engine import Engine, WorkCancelledError

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

WORKFLOW = "hosting_life"
MOST_UPLOADS = 3
NOT_TAKEN = "The video host did not take the video, three times."
OUTAGE = (
    "The video host does not answer. Your video is safe: it is posted as soon as the host is back, "
    "or without its link if that takes long."
)
UNFORESEEN = "Something went wrong on our side; the operator has been told."

Json = dict[str, Any]


def workflow_id(video_id: str, attempt: int) -> str:
    """The id of the hosting of what was rendered at an attempt."""
    return f"video-{video_id}-hosting-{attempt}"


class HostingLife:
    """Lives the lives of uploads, which end with an outcome (hosted, file_missing, failed, cancelled) and a reason."""

    def __init__(self, app: App) -> None:
        self.app = app

    def register(self, engine: Engine) -> None:
        """Makes the workflow known to the engine, before it is launched."""

        async def hosting_life(argument: Json) -> Json:
            with about(video=argument["video_id"]):
                return await self.live(str(argument["video_id"]), int(argument["attempt"]), argument["machine"])

        engine.workflow(WORKFLOW)(hosting_life)

    async def live(self, video_id: str, attempt: int, machine: str) -> Json:
        """Address → bytes → playable, again with a new asset where one was lost or got stuck."""
        try:
            end = await self._host(video_id, attempt, machine)
        except Exception:
            log.exception("The hosting of video %s ended by an unforeseen error", video_id)
            end = _end("failed", UNFORESEEN)
        if end["outcome"] == "hosted":
            await step("add the link", self.add_link, video_id)
        elif end["outcome"] == "cancelled":
            await step("leave nothing at the host", self.leave_nothing, video_id)
        else:
            log.warning("Video %s is not hosted: %s", video_id, end.get("reason"))
        return end

    async def _host(self, video_id: str, attempt: int, machine: str) -> Json:
        for number in range(1, MOST_UPLOADS + 1):
            ticket = await step("ask for an upload address", self._request_upload, video_id)
            if "outcome" in ticket:
                return ticket
            if "tus_endpoint" in ticket:
                end = await self._send_file(f"video-{video_id}-upload-{attempt}-{number}", video_id, ticket, machine)
                if end["outcome"] == "upload_gone":
                    continue
                if end["outcome"] == "cancelled":
                    why: str | None = await step("why it ended", self._why_ended, video_id)
                    return _end("cancelled", why or end["reason"])
                if end["outcome"] != "done":
                    return _end(end["outcome"], end["reason"])
            hosted = await step("wait for the host", self._wait_for_host, video_id)
            if "problem" not in hosted:
                return hosted
            log.warning("Video %s: the host failed it: %s", video_id, hosted["problem"])
        return _end("failed", NOT_TAKEN)

    async def _send_file(self, upload_id: str, video_id: str, ticket: Json, machine: str) -> Json:
        """Has the machine that holds the file send it; a machine that is gone has lost it."""
        job = await step("look", self._upload_job, video_id, ticket)
        try:
            end: Json = await Engine.delegate(UPLOAD_WORKFLOW, upload_id, job, queue=upload_queue(machine))
        except WorkCancelledError:
            return _end("file_missing", "The worker's machine was lost while it had the video.")
        return end

    async def _upload_job(self, video_id: str, ticket: Json) -> Json:
        video = await self._video(video_id)
        job = UploadJob(
            video_id,
            ticket["asset_id"],
            ticket["tus_endpoint"],
            video.video_path or "",
            video.sha256 or "",
            ticket.get("presigned"),
            self.app.host.shortest_s,
        )
        return job.to_json()

    async def _request_upload(self, video_id: str) -> Json:
        """An address to upload to; empty where the host has the bytes already, from an attempt that was cut short."""
        video = await self._video(video_id)

        async def ask() -> UploadTicket | HostedAsset:
            return await claim_upload(
                self.app.host, video.asset_name, creator=f"discord:{video.member_id}", size_bytes=video.size_bytes or 0
            )

        try:
            claimed = await self._while_wanted(video_id, ask)
        except _EndedError as end:
            return end.end
        await videos.change(self.app.database, video_id, asset_id=claimed.asset_id, playback_id=claimed.playback_id)
        return claimed.to_json() if isinstance(claimed, UploadTicket) else {"asset_id": claimed.asset_id}

    async def _wait_for_host(self, video_id: str) -> Json:
        """Waits until the host can play the video; what it says when it failed."""
        video = await self._video(video_id)
        asset_id = video.asset_id or ""
        await videos.begin_hosting(self.app.database, video_id)

        async def wait() -> Playback | str:
            try:
                return await self.app.host.wait_until_playable(asset_id)
            except (AssetFailed, AssetMissing) as error:
                return str(error)
            except NotReady as error:  # stuck: a new asset has a better chance than more patience
                await self.app.host.delete(asset_id)
                return str(error)

        try:
            playback = await self._while_wanted(video_id, wait)
        except _EndedError as end:
            return end.end
        if isinstance(playback, str):
            return {"problem": playback}
        await videos.change(
            self.app.database,
            video_id,
            playback_id=playback.playback_id,
            playback_url=playback.mp4_url or playback.hls_url,
            page_url=playback.page_url,
        )
        return _end("hosted", "")

    async def _while_wanted(self, video_id: str, call: Any) -> Any:
        """Waits out an outage as long as the video is wanted. Raises _EndedError."""

        async def tell() -> None:
            await videos.set_note(self.app.database, video_id, OUTAGE)

        async def unwanted() -> bool:
            return await self._why_ended(video_id) is not None

        try:
            result = await patiently("The video host", call, unwanted=unwanted, on_trouble=tell)
            await videos.set_note(self.app.database, video_id, None)
        except GivenUpError:
            raise _EndedError(_end("cancelled", await self._why_ended(video_id) or "Cancelled.")) from None
        except HostRejected as error:
            raise _EndedError(_end("failed", f"The video host refused the video: {error}")) from error
        return result

    async def _why_ended(self, video_id: str) -> str | None:
        """Why nobody wants the video any more; None while it is wanted."""
        video = await self._video(video_id)
        ended = video.cancel_requested or video.status in {"failed", "cancelled", "removed"}
        return (video.reason or "Cancelled.") if ended else None

    async def _video(self, video_id: str) -> Video:
        return await videos.get(self.app.database, video_id)

    # ------------------------------------------------------------------ afterwards

    async def add_link(self, video_id: str) -> None:
        """Puts the link on a card that was posted without it. Whoever comes last, card or link, calls this."""

        async def edit() -> None:
            async with self.app.board.editing(video_id):  # a card that is removed meanwhile stays removed
                video = await self._video(video_id)
                if video.status != "published" or not video.link:
                    return
                thread = await self.app.client.channel(video.thread_id or 0)
                if thread.archived:
                    return  # its round is over, and `/standings` has the link
                message = await thread.fetch_message(video.message_id or 0)
                name = attachment_name(video)
                attached = [each for each in message.attachments if each.filename == name]
                media_url = f"attachment://{name}" if attached else video.playback_url or ""
                await message.edit(
                    view=video_cards.video_card(video, media_url, self.app.host_name), attachments=attached
                )

        try:
            await patiently("Discord", edit)
        except discord.HTTPException as error:
            log.warning("The link could not be added to the card of video %s: HTTP %s.", video_id, error.status)

    async def leave_nothing(self, video_id: str) -> None:
        """Deletes the asset of a video that nobody wants any more."""
        video = await self._video(video_id)
        if video.asset_id is None:
            return
        try:
            await self.app.host.delete(video.asset_id)
        except HostError as error:
            if error.retryable:
                raise
            log.error("Video %s could not be deleted at the host: %s", video_id, error)


class _EndedError(Exception):
    def __init__(self, end: Json) -> None:
        self.end = end
        super().__init__(end["reason"])


def _end(outcome: str, reason: str) -> Json:
    return {"outcome": outcome, "reason": reason}
