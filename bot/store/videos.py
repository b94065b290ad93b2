"""Videos as rows: added once, changed by their workflow, listed for members."""

from __future__ import annotations

import json
import math
import secrets
import statistics
from collections.abc import Sequence

from sqlalchemy import ScalarSelect, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.policy import Quota
from bot.domain.standings import Entry
from bot.domain.videos import CANCELLABLE, UNDER_WAY, QueuePlace, Video, chain_key, seed_of
from bot.domain.votes import Choice, Tally
from contracts.outbox import entries as outbox
from generation.jobs import Progress, RenderResult
from generation.strict_json import JsonObject
from generation.video.provenance import MOST_BYTES
from generation.worker.registry import count_serving
from migrations.database import now_ms, take_turns
from migrations.schema import render_progress, render_timings, rounds, videos, votes
from migrations.states.community import RoundStatus, VideoStatus

MOST_SEARCHED = 500  # of a guild's newest videos, when a word of the prompt is searched
# These do not count towards a member's quota.
FREE_OF_CHARGE = (VideoStatus.FAILED, VideoStatus.CANCELLED)


async def add(
    connection: AsyncConnection,
    *,
    video_id: str,
    guild_id: int,
    round_id: int,
    member_id: int,
    member_name: str,
    prompt: str,
    model_id: str,
    quota: Quota,
) -> bool:
    """Add a video in the caller's transaction. Return False where this interaction has added it before.

    Raises TooManyPromptsError or TooManyWaitingError.
    """
    await take_turns(connection, "videos", guild_id, member_id)
    if await connection.scalar(select(videos.c.id).where(videos.c.id == video_id)):
        return False
    mine = videos.c.member_id == member_id
    count = await connection.scalar(
        select(func.count()).where(mine, videos.c.round_id == round_id, videos.c.status.notin_(FREE_OF_CHARGE))
    )
    # The guild is compared in Python: with it in the query, SQLite would read all videos of the member in that guild.
    waiting = await connection.scalars(select(videos.c.guild_id).where(mine, videos.c.status.in_(UNDER_WAY)))
    quota.check(asked=int(count or 0), waiting=sum(guild == guild_id for guild in waiting))
    await connection.execute(
        insert(videos).values(
            id=video_id,
            guild_id=guild_id,
            round_id=round_id,
            member_id=member_id,
            member_name=member_name,
            prompt=prompt,
            status=VideoStatus.QUEUED,
            created_at_ms=now_ms(),
            cancel_requested=False,
            seed=seed_of(video_id),
            model_id=model_id,
            chain_key=chain_key("video", video_id),
        )
    )
    return True


async def get_or_none(database: AsyncEngine, video_id: str) -> Video | None:
    """Return the video; None where there is none."""
    async with database.connect() as connection:
        row = (await connection.execute(select(videos).where(videos.c.id == video_id))).first()
    return Video.from_row(row) if row else None


async def get(database: AsyncEngine, video_id: str) -> Video:
    """Return the video. Raises LookupError where there is none."""
    video = await get_or_none(database, video_id)
    if video is None:
        raise LookupError(f"There is no video {video_id}.")
    return video


async def change(database: AsyncEngine, video_id: str, **values: object) -> None:
    """Set columns of a video."""
    async with database.begin() as connection:
        await connection.execute(update(videos).where(videos.c.id == video_id).values(**values))


async def advance(database: AsyncEngine, video_id: str, status: VideoStatus, **values: object) -> None:
    """Move a video to its next status; a video that is over stays as it is."""
    async with database.begin() as connection:
        await connection.execute(
            update(videos)
            .where(videos.c.id == video_id, videos.c.status.in_(UNDER_WAY))
            .values(status=status, **values)
        )


async def begin_rendering(database: AsyncEngine, video_id: str) -> None:
    """Record that a worker has started to render."""
    async with database.begin() as connection:
        await connection.execute(
            update(videos)
            .where(videos.c.id == video_id, videos.c.status == VideoStatus.QUEUED)
            .values(status=VideoStatus.RENDERING)
        )


async def begin_hosting(database: AsyncEngine, video_id: str) -> None:
    """Record that the host has every byte. A video that is being posted already, without its host, stays as it is."""
    async with database.begin() as connection:
        await connection.execute(
            update(videos)
            .where(videos.c.id == video_id, videos.c.status == VideoStatus.UPLOADING)
            .values(status=VideoStatus.HOSTING)
        )


async def record_render(database: AsyncEngine, video_id: str, result: RenderResult) -> None:
    """Record a rendered file and the duration of the render.

    A video whose first file was lost on the way to the host gets a new file, with another signature and hash.
    """
    replaced = or_(videos.c.sha256.is_(None), videos.c.sha256 != result.sha256)
    rendering = videos.c.status.in_((VideoStatus.QUEUED, VideoStatus.RENDERING))
    on_the_way = videos.c.status.in_((VideoStatus.UPLOADING, VideoStatus.HOSTING))
    async with database.begin() as connection:
        changed = await connection.execute(
            update(videos)
            .where(videos.c.id == video_id, rendering | (on_the_way & replaced))
            .values(
                status=VideoStatus.UPLOADING,
                video_path=result.video_path,
                poster_path=result.poster_path,
                sha256=result.sha256,
                size_bytes=result.size_bytes,
                width=result.width,
                height=result.height,
                fps=result.fps,
                frames=result.frames,
                model_revision=result.model_revision,
                **_release(result),
                provenance=_card(result),
            )
        )
        if changed.rowcount:
            await connection.execute(
                insert(render_timings).values(model_id=result.model_id, seconds=result.seconds, finished_at_ms=now_ms())
            )


def _release(result: RenderResult) -> dict[str, object]:
    """Return the columns of the release that rendered a file; both empty where the model rendered by itself."""
    release = result.release or {}
    return {"release": release.get("number"), "adapter_sha256": release.get("adapter_sha256")}


def _card(result: RenderResult) -> JsonObject | None:
    """Return the provenance card; None where the worker gave none that can be shown."""
    card = result.provenance
    return card if isinstance(card, dict) and len(json.dumps(card)) <= MOST_BYTES else None


async def publish(database: AsyncEngine, video_id: str, *, thread_id: int, message_id: int) -> bool:
    """Publish a video whose card is in the voting thread, with its ledger entry: from then on it takes votes.

    Return False where its round closed in the meantime: then the video takes no part.
    """
    async with database.begin() as connection:
        row = (
            await connection.execute(
                select(videos, rounds.c.status.label("round_status"), rounds.c.closes_at_ms)
                .join(rounds, rounds.c.id == videos.c.round_id)
                .where(videos.c.id == video_id)
                .with_for_update(of=rounds, read=True)  # the round cannot close before the ledger entry is written
            )
        ).one()
        if row.status == VideoStatus.PUBLISHED:
            return True
        if row.round_status != RoundStatus.OPEN or row.closes_at_ms <= now_ms():
            return False
        await connection.execute(
            update(videos)
            .where(videos.c.id == video_id)
            .values(status=VideoStatus.PUBLISHED, thread_id=thread_id, message_id=message_id, finished_at_ms=now_ms())
        )
        salt = secrets.token_hex(32)
        await outbox.record_video(
            connection,
            round_id=row.round_id,
            video_id=video_id,
            key=row.chain_key,
            prompt_hash=outbox.salted_hash(row.prompt, salt),
            prompt_salt=salt,
            content_hash=row.sha256,
            # A release is named by its adapter, as on the sides of its battle.
            model_hash=row.adapter_sha256 or outbox.text_hash(f"{row.model_id}@{row.model_revision}"),
            playback_id=row.playback_id or "",
        )
    return True


async def end(database: AsyncEngine, video_id: str, status: VideoStatus, reason: str) -> None:
    """End a video as failed or cancelled; the reason is a sentence for the member."""
    await advance(database, video_id, status, reason=reason, finished_at_ms=now_ms())


async def set_note(database: AsyncEngine, video_id: str, text: str | None) -> None:
    """Set the note that a member reads about a video in progress, such as an outage; a cancellation's reason stays."""
    async with database.begin() as connection:
        await connection.execute(
            update(videos)
            .where(videos.c.id == video_id, videos.c.status.in_(UNDER_WAY), videos.c.cancel_requested.is_(False))
            .values(reason=text)
        )


async def request_cancel(database: AsyncEngine, video_id: str, reason: str) -> bool:
    """Ask for the end of a video that is still being made. Return False where it is too late for that."""
    async with database.begin() as connection:
        changed = await connection.execute(
            update(videos)
            .where(videos.c.id == video_id, videos.c.status.in_(CANCELLABLE))
            .values(cancel_requested=True, reason=reason)
        )
    return bool(changed.rowcount)


async def remove(connection: AsyncConnection, video_id: str, reason: str) -> bool:
    """Remove a posted video in the caller's transaction: from its commit on, the video takes no votes.

    Return False where the video is not posted. Work that is still in progress for it, such as its upload, learns of the
    removal by the same mark as of a cancellation.
    """
    changed = await connection.execute(
        update(videos)
        .where(videos.c.id == video_id, videos.c.status == VideoStatus.PUBLISHED)
        .values(status=VideoStatus.REMOVED, reason=reason, cancel_requested=True)
    )
    return bool(changed.rowcount)


async def by_message_or_none(database: AsyncEngine, message_id: int) -> Video | None:
    """Return the video whose card a message is; None where the message is no card."""
    async with database.connect() as connection:
        row = (await connection.execute(select(videos).where(videos.c.message_id == message_id))).first()
    return Video.from_row(row) if row else None


async def latest(
    database: AsyncEngine, guild_id: int, typed: str, most: int, *, posted_only: bool = False
) -> Sequence[Video]:
    """Return the newest videos of a guild that have a part of their prompts, the newest first.

    With `posted_only`, videos on their way are left out. No index knows parts of prompts. Since a member waits, only
    the newest videos of the guild are looked through, not all videos ever.
    """
    statuses = (VideoStatus.PUBLISHED,) if posted_only else (*UNDER_WAY, VideoStatus.PUBLISHED)
    here = select(videos).where(videos.c.guild_id == guild_id).order_by(videos.c.created_at_ms.desc())
    query = here.where(videos.c.status.in_(statuses)).limit(most)
    if typed:
        newest = here.with_only_columns(videos.c.id, videos.c.status, videos.c.prompt, videos.c.created_at_ms)
        searched = newest.limit(MOST_SEARCHED).subquery("searched").c
        matching = (
            select(searched.id)
            .where(searched.status.in_(statuses), searched.prompt.icontains(typed, autoescape=True))
            .order_by(searched.created_at_ms.desc())
            .limit(most)
        )
        query = select(videos).where(videos.c.id.in_(matching)).order_by(videos.c.created_at_ms.desc())
    async with database.connect() as connection:
        return [Video.from_row(row) for row in await connection.execute(query)]


async def of_member(database: AsyncEngine, guild_id: int, member_id: int, most: int) -> Sequence[Video]:
    """Return a member's videos in a guild, the newest first."""
    async with database.connect() as connection:
        rows = await connection.execute(
            select(videos)
            .where(videos.c.guild_id == guild_id, videos.c.member_id == member_id)
            .order_by(videos.c.created_at_ms.desc())
            .limit(most)
        )
        return [Video.from_row(row) for row in rows]


async def under_way(database: AsyncEngine, round_id: int | None = None) -> Sequence[Video]:
    """Return the videos in progress, of one round or of all, the oldest first."""
    query = select(videos).where(videos.c.status.in_(UNDER_WAY)).order_by(videos.c.created_at_ms)
    if round_id is not None:
        query = query.where(videos.c.round_id == round_id)
    async with database.connect() as connection:
        return [Video.from_row(row) for row in await connection.execute(query)]


async def by_ids(database: AsyncEngine, video_ids: Sequence[str]) -> dict[str, Video]:
    """Return some videos, by their ids."""
    if not video_ids:
        return {}
    async with database.connect() as connection:
        rows = await connection.execute(select(videos).where(videos.c.id.in_(video_ids)))
        return {row.id: Video.from_row(row) for row in rows}


async def entries(database: AsyncEngine, round_id: int, *, removed: bool = False) -> Sequence[Entry]:
    """Return the published videos of a round with their votes, unranked; with `removed`, also removed videos."""
    statuses = (VideoStatus.PUBLISHED, VideoStatus.REMOVED) if removed else (VideoStatus.PUBLISHED,)
    query = select(videos, count_of(Choice.UP).label("up"), count_of(Choice.DOWN).label("down")).where(
        videos.c.round_id == round_id, videos.c.status.in_(statuses)
    )
    async with database.connect() as connection:
        rows = await connection.execute(query)
        return [Entry(Video.from_row(row), Tally(up=int(row.up), down=int(row.down))) for row in rows]


def count_of(choice: Choice) -> ScalarSelect[int]:
    """Return the subquery for the number of votes of one choice on the video of the enclosing query.

    It counts video by video. In a grouped query, neither database would find out that only the videos of one round
    are needed.
    """
    return (
        select(func.count())
        .where(votes.c.video_id == videos.c.id, votes.c.choice == choice)
        .correlate(videos)
        .scalar_subquery()
    )


async def open_for_votes(database: AsyncEngine, round_id: int | None = None) -> Sequence[Video]:
    """Return the published videos of open rounds, of one round or of all."""
    takes_votes = select(rounds.c.id).where(rounds.c.status == RoundStatus.OPEN, rounds.c.closes_at_ms > now_ms())
    if round_id is not None:
        takes_votes = takes_votes.where(rounds.c.id == round_id)
    query = select(videos).where(videos.c.round_id.in_(takes_votes), videos.c.status == VideoStatus.PUBLISHED)
    async with database.connect() as connection:
        return [Video.from_row(row) for row in await connection.execute(query)]


async def progress_of(database: AsyncEngine, video_ids: Sequence[str]) -> dict[str, Progress]:
    """Return the latest progress that workers reported, by video."""
    if not video_ids:
        return {}
    async with database.connect() as connection:
        rows = await connection.execute(select(render_progress).where(render_progress.c.video_id.in_(video_ids)))
        return {row.video_id: Progress(row.phase, row.step, row.steps, row.eta_s, row.words) for row in rows}


async def queue_place(database: AsyncEngine, video: Video, model_class: str) -> QueuePlace:
    """Return the number of videos ahead of this one, and the time until it is likely to be rendered.

    Members take turns: everybody's first video comes before anybody's second. Within a turn, the earlier video comes
    first. (The engine draws lots among the members of a turn, so this is the place of a video on average.)
    """
    async with database.connect() as connection:
        waiting = (
            await connection.execute(
                select(videos.c.id, videos.c.member_id, videos.c.status, videos.c.created_at_ms)
                .where(
                    videos.c.model_id == video.model_id,
                    videos.c.status.in_((VideoStatus.QUEUED, VideoStatus.RENDERING)),
                )
                .order_by(videos.c.created_at_ms, videos.c.id)
            )
        ).all()
        recent = (
            select(render_timings.c.seconds)
            .where(render_timings.c.model_id == video.model_id)
            .order_by(render_timings.c.finished_at_ms.desc())
            .limit(20)
        )
        timings = (await connection.scalars(recent)).all()
        workers = await count_serving(connection, model_class, video.model_id)
    turns_taken: dict[int, int] = {}
    turns = []
    for row in waiting:  # the oldest first
        turn = turns_taken.get(row.member_id, 0)
        turns_taken[row.member_id] = turn + 1
        turns.append((row.status != VideoStatus.RENDERING, turn, row.created_at_ms, row.id))
    ahead = next((n for n, (*_, video_id) in enumerate(sorted(turns)) if video_id == video.id), 0)
    # The median: one render that took long, such as a worker's first, does not spoil it.
    turns_left = math.ceil((ahead + 1) / max(1, workers))
    estimate_s = turns_left * statistics.median(timings) if timings else None
    return QueuePlace(ahead=ahead, estimate_s=estimate_s, served=workers > 0)
