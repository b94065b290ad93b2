"""The removal of a posted video by a moderator, as one readable workflow: each of its steps may run twice.

The ledger's entry and the votes on it stay: nothing can be taken back there, and it holds hashes only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import discord
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cards import videos as video_cards
from bot.files.attachments import delete_rendered
from bot.retry import patiently, step
from bot.store import rounds, videos
from generation.jobs import BOT_QUEUE
from generation.log_context import about
from generation.queue.engine import Engine

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

WORKFLOW = "removal_life"

Json = dict[str, Any]


class RemovalLife:
    """Begins and lives removals. From the transaction on that begins one, the video takes no votes and has no rank."""

    def __init__(self, app: App) -> None:
        self.app = app

    def register(self, engine: Engine) -> None:
        """Makes the workflow known to the engine, before it is launched."""

        async def removal_life(argument: Json) -> Json:
            with about(video=argument["video_id"]):
                return await self.live(str(argument["video_id"]))

        engine.workflow(WORKFLOW)(removal_life)

    async def begin(self, connection: AsyncConnection, video_id: str) -> None:
        """Begins a removal in the transaction that marks the video's row."""
        await self.app.engine.submit(
            connection, WORKFLOW, f"removal-{video_id}", {"video_id": video_id}, queue=BOT_QUEUE
        )

    async def live(self, video_id: str) -> Json:
        """Card → member → result → files → host. The host comes last: it may be away for long."""
        log.info("A moderator has removed the video.")
        await step("empty the card", self._empty_card, video_id)
        await step("tell the member", self.app.video_life.tell, video_id)
        await step("show the result anew", self._show_result, video_id)
        await step("delete the files", self._delete_files, video_id)
        await step("leave nothing at the host", self.app.hosting_life.leave_nothing, video_id)
        log.info("The video is removed everywhere but on the ledger, where nothing can be.")
        return {"video_id": video_id}

    async def _empty_card(self, video_id: str) -> None:
        """A sentence in place of video, prompt and buttons; the thread of a closed round is opened for it."""
        video = await videos.get(self.app.database, video_id)
        round_ = await rounds.get(self.app.database, video.round_id)

        async def edit() -> None:
            thread = await self.app.client.channel(video.thread_id or 0)
            if thread.archived:
                thread = await thread.edit(archived=False)
            async with self.app.board.editing(video_id):
                message = thread.get_partial_message(video.message_id or 0)
                await message.edit(view=video_cards.removed_card(video), attachments=[])
            if round_.status == "closed":
                await thread.edit(archived=True, locked=True)

        try:
            await patiently("Discord", edit)
        except discord.NotFound:
            log.info("The card of video %s is gone already.", video_id)
        except discord.HTTPException as error:
            log.error("The card of video %s could not be emptied: HTTP %s. Delete it by hand.", video_id, error.status)

    async def _show_result(self, video_id: str) -> None:
        video = await videos.get(self.app.database, video_id)
        await self.app.round_life.show_result(video.round_id)

    async def _delete_files(self, video_id: str) -> None:
        """Those of this machine; a worker's own are its operator's to clean up."""
        video = await videos.get(self.app.database, video_id)
        await asyncio.to_thread(delete_rendered, video, self.app.settings.data_dir)
