"""The view counts of videos at their host: a weak signal, shown beside the votes and never counted with them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from bot.domain.videos import Video
from generation.hosting.host import HostError, VideoHost

log = logging.getLogger(__name__)

PATIENCE_S = 1.0  # the answer to a member does not wait longer
FRESH_S = 300.0
MOST_KEPT = 2000


class ViewCounts:
    """Reads counts from the host, if it answers in time. A count is read again when it is five minutes old."""

    def __init__(self, host: VideoHost) -> None:
        self._host = host
        self._counts: dict[str, tuple[float, int | None]] = {}  # by playback id

    async def of(self, videos: Iterable[Video]) -> dict[str, int]:
        """Return the counts that are known, by video id. Raises nothing."""
        playback_ids = {video.id: video.playback_id for video in videos if video.playback_id and video.link}
        now = time.monotonic()
        stale = {each for each in playback_ids.values() if now - self._counts.get(each, (-FRESH_S, None))[0] >= FRESH_S}
        asking = [asyncio.create_task(self._ask(each), name="views") for each in stale]
        if asking:
            _, late = await asyncio.wait(asking, timeout=PATIENCE_S)
            for task in late:
                task.cancel()
        counts = {video_id: self._counts.get(each, (0.0, None))[1] for video_id, each in playback_ids.items()}
        return {video_id: count for video_id, count in counts.items() if count is not None}

    async def _ask(self, playback_id: str) -> None:
        try:
            count = await self._host.views(playback_id)
        except (HostError, ValueError) as error:
            log.info("The views of a video are not known: %s", error)
            return
        if len(self._counts) >= MOST_KEPT:
            self._counts.clear()
        self._counts[playback_id] = (time.monotonic(), count)
