"""Videos as rows: where each stands in the queue, and how they are found."""

from __future__ import annotations

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import videos as video_cards
from bot.store import rounds as rounds_store
from bot.store import videos
from generation.jobs import RenderResult, gpu_queue
from migrations.database import now_ms
from migrations.schema import executor_leases, render_timings, rounds
from migrations.schema import videos as table
from tests.growth.history import GUILD, Past, fill, video_of

ANA, BEN, CHLOE = 1, 2, 3


async def ask_all(database: AsyncEngine, asked: list[tuple[str, int]]) -> None:
    """Videos of members, asked for one after the other."""
    async with database.begin() as connection:
        begun = now_ms()
        await connection.execute(
            insert(rounds).values(
                id=1, guild_id=7, number=1, task="t", opened_by=1, channel_id=2, status="open",
                opens_at_ms=begun, closes_at_ms=begun + 60_000, chain_key="0" * 64,
            )
        )  # fmt: skip
        for number, (video_id, member) in enumerate(asked):
            await connection.execute(
                insert(table).values(
                    id=video_id, guild_id=7, round_id=1, member_id=member, member_name="m", prompt="p", status="queued",
                    created_at_ms=begun + number, cancel_requested=False, seed=1, model_id="tiny",
                    chain_key=f"{int(video_id):064x}",
                )
            )  # fmt: skip


async def places(database: AsyncEngine) -> list[str]:
    """The waiting videos, by the place that each member is told."""
    waiting = await videos.under_way(database)
    told = {video.id: (await videos.queue_place(database, video, "tiny")).ahead for video in waiting}
    assert sorted(told.values()) == list(range(len(told)))  # no two are told the same place
    return sorted(told, key=lambda video_id: told[video_id])


async def test_members_take_turns_in_the_queue(database: AsyncEngine) -> None:
    """Whoever asks for three videos does not push others back: first videos come first, in the order of asking."""
    await ask_all(database, [("11", ANA), ("12", ANA), ("13", ANA), ("21", BEN), ("31", CHLOE), ("22", BEN)])
    assert await places(database) == ["11", "21", "31", "12", "22", "13"]


async def test_what_is_rendered_is_ahead_of_all(database: AsyncEngine) -> None:
    """The engine began with somebody else's: that is where the queue begins now."""
    await ask_all(database, [("11", ANA), ("21", BEN), ("31", CHLOE)])
    async with database.begin() as connection:
        await connection.execute(update(table).where(table.c.id == "31").values(status="rendering"))
    assert await places(database) == ["31", "11", "21"]


async def test_a_member_is_told_when_nobody_renders(database: AsyncEngine) -> None:
    """A worker that renders with another model is none for this video, and neither is one whose lease has run out."""
    await ask_all(database, [("11", ANA)])
    [video] = await videos.under_way(database)
    round_ = await rounds_store.get(database, video.round_id)

    async def told() -> str:
        return video_cards.progress_text(video, round_, await videos.queue_place(database, video, "tiny"), None)

    async def beat(executor_id: str, queue: str, ago_ms: int) -> None:
        async with database.begin() as connection:
            await connection.execute(
                insert(executor_leases).values(
                    executor_id=executor_id, role="worker", queues=[queue], beat_at_ms=now_ms() - ago_ms
                )
            )

    await beat("worker-of-others", "gpu.tiny:wan", 0)
    await beat("worker-that-died", "gpu.tiny:tiny", 60_000)
    assert (
        "next in the queue. No GPU worker for **\u2068tiny\u2069** is online. Your prompt stays in the queue"
        in await told()
    )
    await beat("worker-that-lives", "gpu.tiny:tiny", 0)
    assert "next in the queue. How long it takes is known after this model's first video." in await told()


async def test_the_estimate_is_what_renders_took_lately(database: AsyncEngine) -> None:
    """Before the first render of a model no figure is given; other models' times say nothing."""
    await ask_all(database, [("11", ANA), ("21", BEN)])
    second = next(video for video in await videos.under_way(database) if video.id == "21")
    assert (await videos.queue_place(database, second, "tiny")).estimate_s is None
    async with database.begin() as connection:
        for model, seconds in (("tiny", 4.0), ("tiny", 6.0), ("huge", 900.0)):
            await connection.execute(
                insert(render_timings).values(model_id=model, seconds=seconds, finished_at_ms=now_ms())
            )
    assert (await videos.queue_place(database, second, "tiny")).estimate_s == 10.0


async def test_the_estimate_is_within_a_factor_of_two_of_a_known_clock(database: AsyncEngine) -> None:
    """Renders of 7 s after a first one of 60 s, by one worker and by two."""
    await ask_all(database, [("11", ANA), ("21", BEN), ("31", CHLOE)])
    queue = {video.id: video for video in await videos.under_way(database)}
    async with database.begin() as connection:
        for seconds in (60.0, 7.0, 7.0, 7.5, 6.8):
            await connection.execute(
                insert(render_timings).values(model_id="tiny", seconds=seconds, finished_at_ms=now_ms())
            )
    for workers, ends in ((1, (7.0, 14.0, 21.0)), (2, (7.0, 7.0, 14.0))):
        async with database.begin() as connection:
            values = {"executor_id": f"worker {workers}", "role": "worker", "queues": [gpu_queue("tiny", "tiny")]}
            await connection.execute(insert(executor_leases).values(beat_at_ms=now_ms(), **values))
        for video_id, end in zip(("11", "21", "31"), ends, strict=True):
            place = await videos.queue_place(database, queue[video_id], "tiny")
            assert place.served
            assert end / 2 <= (place.estimate_s or 0.0) <= 2 * end


async def test_a_render_that_was_repeated_takes_the_first_ones_place(database: AsyncEngine) -> None:
    """Its signature makes it another file: hash and card are the new ones, until the video is over."""
    await ask_all(database, [("11", ANA)])

    def result(sha256: str) -> RenderResult:
        card = {"file": {"sha256": sha256}}
        return RenderResult("v.mp4", "v.jpg", sha256, 9, 64, 64, 8.0, 5, 1.0, "tiny", "r", "m", card)

    async def recorded() -> tuple[str | None, object, str, int]:
        video = await videos.get(database, "11")
        async with database.connect() as connection:
            timed = len((await connection.execute(render_timings.select())).all())
        return video.sha256, (video.provenance or {}).get("file"), video.status, timed

    await videos.record_render(database, "11", result("aa"))
    await videos.record_render(database, "11", result("aa"))  # the step was cut short and is repeated
    assert await recorded() == ("aa", {"sha256": "aa"}, "uploading", 1)
    await videos.begin_hosting(database, "11")
    await videos.record_render(database, "11", result("bb"))
    assert await recorded() == ("bb", {"sha256": "bb"}, "uploading", 2)
    await videos.end(database, "11", "failed", "It was too late.")
    await videos.record_render(database, "11", result("cc"))
    assert await recorded() == ("bb", {"sha256": "bb"}, "failed", 2)


async def test_words_are_looked_for_among_the_newest_videos(database: AsyncEngine, database_url: str) -> None:
    """A word of a prompt finds the newest five hundred of a server, newest first; older ones have their id."""
    past = Past(rounds=8, votes=100, videos=100, open_votes=100, waiting=0)
    fill(database_url, past)
    found = await videos.latest(database, GUILD, "of round 7", 25, posted_only=True)
    assert [video.id for video in found] == sorted((video.id for video in found), reverse=True)
    assert {video.round_id for video in found} == {7}
    assert len(found) == 25
    [one] = await videos.latest(database, GUILD, "OF 33 WORDS, of round 7", 25)
    assert one.id == video_of(7, 33)
    assert (
        await videos.latest(database, GUILD, "100%", 25)
        == await videos.latest(database, GUILD, "of_7", 25, posted_only=True)
        == []
    )
    assert await videos.latest(database, GUILD, "of round 2", 25, posted_only=True) == []
    assert (await videos.get(database, video_of(2, 33))).prompt.endswith("of round 2")
    newest = await videos.latest(database, GUILD, "", 3)
    assert [video.status for video in newest] == ["posting", "uploading", "rendering"]
    assert await videos.latest(database, GUILD + 1, "", 25, posted_only=True) == []


async def test_open_cards_are_those_of_open_rounds(database: AsyncEngine, database_url: str) -> None:
    """Of one round or of all; a round that is over has none, nor has a video that is still being made."""
    past = Past(rounds=2, votes=100, open_votes=100, waiting=0)
    fill(database_url, past)
    ids = {video.id for video in await videos.open_for_votes(database)}
    assert ids == {*past.of_the_open_round}
    assert {video.id for video in await videos.open_for_votes(database, past.open_round)} == ids
    assert await videos.open_for_votes(database, 1) == []
