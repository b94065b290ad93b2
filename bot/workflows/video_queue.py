"""The begin and the end of video workflows, for all who ask for videos or stop them."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.store import videos
from generation.jobs import BOT_QUEUE
from generation.queue.engine import Engine

WORKFLOW = "video_life"
MOST_RENDERS = 3  # a rendered file can be lost with its machine: then the same seed is rendered again


def workflow_id(video_id: str) -> str:
    """Return the id of the workflow of a video."""
    return f"video-{video_id}"


def render_id(video_id: str, attempt: int) -> str:
    """Return the id of the render job of a video's attempt, counted from 1."""
    return f"video-{video_id}-render-{attempt}"


class VideoQueue:
    """Puts videos into the queue and takes them out."""

    def __init__(self, *, database: AsyncEngine, engine: Engine) -> None:
        self._database = database
        self._engine = engine

    async def begin(self, connection: AsyncConnection, video_id: str) -> None:
        """Begin the workflow of a video in the transaction that writes its row."""
        argument = {"video_id": video_id}
        await self._engine.submit(connection, WORKFLOW, workflow_id(video_id), argument, queue=BOT_QUEUE)

    async def cancel(self, video_id: str, reason: str) -> bool:
        """Cancel a video that is not posted yet. Return False when it is too late."""
        if not await videos.request_cancel(self._database, video_id, reason):
            return False
        await self.end_renders(video_id)
        return True

    async def end_renders(self, video_id: str) -> None:
        """Take the render job of a cancelled video out of the queue. A job that runs sees the request by itself."""
        for attempt in range(1, MOST_RENDERS + 1):
            await self._engine.cancel(render_id(video_id, attempt))
