"""The latest of a guild, which battle rounds begin with: its last battle round, and the prompts of its members."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.store.battles import rounds as battles
from migrations.schema import videos
from tests.bot.store.test_vote_writer import add_round, add_video
from tests.builders.battle_rounds import GUILD, an_open_battle


async def test_prompts_of_battles_are_those_of_the_latest_posted_videos(database: AsyncEngine) -> None:
    """Each once, the newest first; none of a video that failed, or of another server."""
    await add_round(database, 50)
    made = [("10", 3, "published"), ("11", 2, "published"), ("12", 1, "published"), ("13", 9, "failed")]
    for number, (video_id, at_ms, status) in enumerate(made):
        await add_video(database, video_id, 50, status=status)
        async with database.begin() as connection:
            changed = videos.update().where(videos.c.id == video_id)
            await connection.execute(changed.values(created_at_ms=at_ms, prompt=f"prompt {number % 2}"))
    assert await battles.prompts_of_members(database, GUILD, 5) == ["prompt 0", "prompt 1"]
    assert await battles.prompts_of_members(database, GUILD, 1) == ["prompt 0"]
    assert await battles.prompts_of_members(database, GUILD + 1, 5) == []


async def test_the_latest_battle_round_is_the_guilds_own(database: AsyncEngine) -> None:
    """Whatever rounds of videos came after it; none before the first."""
    await add_round(database, 50)
    assert await battles.latest_or_none(database, GUILD) is None
    battle = await an_open_battle(database)
    await add_round(database, 90)
    assert await battles.latest_or_none(database, GUILD) == battle
    assert await battles.latest_or_none(database, GUILD + 1) is None
