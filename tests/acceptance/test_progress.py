"""The message that shows how a video comes along, where Discord is slow."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bot.demo.discord.people import wait_for
from bot.store import videos
from migrations.database import open_database
from tests.acceptance.conftest import OpenStory


async def test_an_edit_that_comes_late_does_not_undo_the_last_one(tmp_path: Path, story_opener: OpenStory) -> None:
    """An edit with the progress hangs at Discord while the video is posted: in the end the link stands there."""
    # The host is asked seldom: there is time for one more edit before the video is posted.
    async with story_opener(tmp_path, ["a red circle"], settings={"FLOCK_HOST_POLL_S": "3"}) as story:
        database = open_database(story.house.database_url)
        try:
            await story.wait_for_bot(database)
            await story.open_round(database)
            await story.submit()

            async def rendered() -> bool | None:
                video = await videos.get_or_none(database, story.video_ids[0])
                return True if video is not None and video.status in {"uploading", "hosting"} else None

            await wait_for("the render", rendered, seconds=120, every=0.02)
            hang = {"fault": "slow", "seconds": 7, "count": 1, "method": "PATCH", "path": "/channels/*/messages/*"}
            await story.community.ask("POST", "faults", json=hang)
            await story.wait_until_posted(database)

            ana, general = story.person("ana"), await story.community.channel("general")

            async def texts() -> list[str]:
                return [message.text for message in await ana.messages(general) if "a red circle" in message.text]

            async def linked() -> bool | None:
                return True if any("up for votes" in text for text in await texts()) else None

            await wait_for("the link to the post", linked, seconds=60)
            await asyncio.sleep(8)  # until what hung has certainly arrived
            assert ["up for votes" in text for text in await texts()] == [True]
        finally:
            await database.dispose()
