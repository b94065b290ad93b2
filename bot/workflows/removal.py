"""The workflow by which a moderator removes a posted video. Each of its steps may run twice.

The ledger's entry and the votes on it stay: nothing can be taken back there, and it holds hashes only.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.files.attachments import delete_rendered
from bot.posts.progress import ProgressMessages
from bot.posts.rounds import RoundPosts
from bot.posts.videos import VideoPosts
from bot.store import videos
from bot.workflows.hosting import HostingWorkflow
from bot.workflows.steps import step
from generation.jobs import BOT_QUEUE
from generation.log_context import about
from generation.queue.engine import Engine
from generation.strict_json import JsonObject

log = logging.getLogger(__name__)

WORKFLOW = "removal_life"


def workflow_id(video_id: str) -> str:
    """Return the id of the workflow that removes a video."""
    return f"removal-{video_id}"


class RemovalWorkflow:
    """Removes videos. From the transaction that begins a removal, the video takes no votes and has no rank."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        posts: VideoPosts,
        round_posts: RoundPosts,
        progress: ProgressMessages,
        hosting: HostingWorkflow,
        data_dir: Path,
    ) -> None:
        self._database = database
        self._engine = engine
        self._posts = posts
        self._round_posts = round_posts
        self._progress = progress
        self._hosting = hosting
        self._data_dir = data_dir

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def removal_life(argument: JsonObject) -> JsonObject:
            video_id = str(argument["video_id"])
            with about(video=video_id):
                return await self.run(video_id)

        engine.workflow(WORKFLOW)(removal_life)

    async def begin(self, connection: AsyncConnection, video_id: str) -> None:
        """Begin a removal in the transaction that marks the video's row."""
        argument = {"video_id": video_id}
        await self._engine.submit(connection, WORKFLOW, workflow_id(video_id), argument, queue=BOT_QUEUE)

    async def run(self, video_id: str) -> JsonObject:
        """Card → member → result → files → host. The host comes last: it may be away for long."""
        log.info("A moderator has removed the video.")
        await step("empty the card", self._posts.empty_card, video_id)
        await step("tell the member", self._progress.finish, video_id)
        await step("show the result anew", self._show_result, video_id)
        await step("delete the files", self._delete_files, video_id)
        await step("leave nothing at the host", self._hosting.leave_nothing, video_id)
        log.info("The video is removed everywhere but on the ledger, where nothing can be.")
        return {"video_id": video_id}

    async def _show_result(self, video_id: str) -> None:
        video = await videos.get(self._database, video_id)
        await self._round_posts.show_result(video.round_id)

    async def _delete_files(self, video_id: str) -> None:
        """Delete the files on this machine. A worker's own files are its operator's to clean up."""
        video = await videos.get(self._database, video_id)
        await asyncio.to_thread(delete_rendered, video, self._data_dir)
