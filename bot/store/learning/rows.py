"""All that a data set is made of, read from the database: the cost grows with what is exported, not with what there is.

Only closed rounds are read: their votes change no more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from sqlalchemy import Row, Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import OperatorError
from bot.domain.votes import Choice
from contracts.outbox.entries import voter_id
from contracts.outbox.progress import CHOICES
from generation.feedback.dataset.rows import (
    Community,
    Consent,
    Exclusion,
    FeedbackRow,
    RoundRow,
    Thumb,
    VideoRow,
    VoteRow,
)
from migrations.schema import feedback, outbox, reviews, rounds, training_choices, videos, votes
from migrations.states.community import ReviewKind, ReviewState, RoundStatus, TrainingChoice, VideoStatus
from migrations.states.ledger import OutboxState

AT_ONCE = 500  # members of one statement

T = TypeVar("T")


@dataclass(frozen=True)
class ExportedRound:
    """A closed round that is to be exported; `id` is the row's."""

    id: int
    key: str
    number: int


@dataclass(frozen=True)
class VideoFile:
    """The places where a video's file may lie on this machine: by its id, or at the path that its worker gave."""

    video_id: str
    path: str | None


@dataclass(frozen=True)
class ExportRows:
    """The rows of a data set, and the files of its videos by the videos' keys."""

    community: Community
    files: Mapping[str, VideoFile]


@dataclass(frozen=True)
class _Member:
    """A row of `training_choices`."""

    notice_at_ms: int | None
    choice: str | None

    @property
    def consent(self) -> Consent:
        if self.choice == TrainingChoice.OUT:
            return Consent.OPTED_OUT
        return Consent.NOT_ASKED if self.notice_at_ms is None else Consent.GIVEN

    def had_read_by(self, time_ms: int) -> bool:
        """Return True if the notice was read by then; a choice to take part covers what was given before as well."""
        return self.choice == TrainingChoice.IN or (self.notice_at_ms is not None and self.notice_at_ms <= time_ms)


async def only_guild(database: AsyncEngine) -> int:
    """Return the guild whose rounds there are. Raises OperatorError for none, and for several."""
    async with database.connect() as connection:
        guilds = (await connection.scalars(select(rounds.c.guild_id).distinct().order_by(rounds.c.guild_id))).all()
    if not guilds:
        raise OperatorError("There is nothing to export: this database has no rounds.")
    if len(guilds) > 1:
        names = ", ".join(map(str, guilds))
        raise OperatorError(f"This database has rounds of several servers. Name one with --server: {names}.")
    return int(guilds[0])


async def closed_rounds(
    database: AsyncEngine, guild_id: int, *, numbers: Collection[int] = (), since_ms: int | None = None
) -> Sequence[ExportedRound]:
    """Return the closed rounds of a guild, of these numbers where there are some, that closed since then.

    Raises OperatorError where a number is of no round, or of one that is not closed, and where nothing is left.
    """
    table = rounds.c
    query = select(table.id, table.chain_key, table.number, table.status, table.closes_at_ms).where(
        table.guild_id == guild_id
    )
    if numbers:
        query = query.where(table.number.in_(numbers))
    async with database.connect() as connection:
        rows = (await connection.execute(query.order_by(table.number))).all()
    if unknown := sorted({*numbers} - {row.number for row in rows}):
        raise OperatorError(f"There is no round {unknown[0]} in that server.")
    for row in rows:
        if numbers and row.status != RoundStatus.CLOSED:
            raise OperatorError(f"Round {row.number} is not closed: its votes may still change.")
    chosen = [
        ExportedRound(row.id, row.chain_key, row.number)
        for row in rows
        if row.status == RoundStatus.CLOSED and (since_ms is None or row.closes_at_ms >= since_ms)
    ]
    if not chosen:
        raise OperatorError("There is nothing to export: no such round is closed yet.")
    return chosen


async def export_rows(
    database: AsyncEngine, guild_id: int, chosen: Sequence[ExportedRound], *, pepper: bytes
) -> ExportRows:
    """Return all that a data set of these rounds is made of, round by round, in one transaction.

    Members are named by their Discord ids here; `pepper` tells which entries for the ledger are theirs.
    """
    found_videos: list[VideoRow] = []
    found_votes: list[VoteRow] = []
    texts: list[tuple[str, int, str, int]] = []
    files: dict[str, VideoFile] = {}
    async with database.connect() as connection:
        for round_ in chosen:
            keys: dict[str, str] = {}
            async for row in _stream(connection, _videos_of(round_.id)):
                found_videos.append(_video(row, round_.key))
                keys[row.id] = row.chain_key
                files[row.chain_key] = VideoFile(row.id, row.video_path)
            rejected = await _rejected(connection, round_.id)
            async for row in _stream(connection, _votes_of(round_.id)):
                is_rejected = bool(rejected) and (row.video_id, voter_id(pepper, guild_id, row.member_id)) in rejected
                choice: Thumb = "up" if row.choice == Choice.UP else "down"
                found_votes.append(
                    VoteRow(keys[row.video_id], str(row.member_id), choice, rejected_by_ledger=is_rejected)
                )
            texts += [
                (keys[row.video_id], row.member_id, row.text, row.created_at_ms)
                async for row in _stream(connection, _feedback_of(round_.id))
            ]
        member_ids = {int(video.author) for video in found_videos}
        member_ids |= {int(vote.voter) for vote in found_votes} | {member_id for _, member_id, _, _ in texts}
        members = await _members(connection, guild_id, sorted(member_ids))
    words = [
        FeedbackRow(key, str(member_id), text, member_id in members and members[member_id].had_read_by(written_ms))
        for key, member_id, text, written_ms in texts
    ]
    consents = {str(member_id): member.consent for member_id, member in members.items()}
    numbered = [RoundRow(each.key, each.number) for each in chosen]
    return ExportRows(Community(numbered, found_videos, found_votes, words, consents=consents), files)


def _videos_of(round_id: int) -> Select[*tuple[object, ...]]:
    """Return the query for the posted videos of a round, and for those that a review rejected."""
    is_rejected = (
        select(reviews.c.id)
        .where(reviews.c.kind.in_((ReviewKind.PROMPT, ReviewKind.VIDEO)), reviews.c.video_id == videos.c.id)
        .where(reviews.c.state == ReviewState.REJECTED)
        .exists()
    )
    table = videos.c
    return select(
        table.id, table.chain_key, table.member_id, table.prompt, table.status, table.seed, table.model_id,
        table.model_revision, table.sha256, table.video_path, table.provenance, is_rejected.label("is_rejected"),
    ).where(
        table.round_id == round_id, or_(table.status.in_((VideoStatus.PUBLISHED, VideoStatus.REMOVED)), is_rejected)
    )  # fmt: skip


def _video(row: Row[*tuple[object, ...]], round_key: str) -> VideoRow:
    exclusion = Exclusion.REMOVED if row.status == VideoStatus.REMOVED else None
    return VideoRow(
        key=row.chain_key,
        round_key=round_key,
        author=str(row.member_id),
        prompt=row.prompt,
        seed=row.seed,
        model_id=row.model_id,
        model_revision=row.model_revision,
        mp4_sha256=row.sha256,
        card=row.provenance if isinstance(row.provenance, dict) else None,
        exclusion=Exclusion.REJECTED if row.is_rejected else exclusion,
    )


def _votes_of(round_id: int) -> Select[*tuple[object, ...]]:
    return (
        select(votes.c.video_id, votes.c.member_id, votes.c.choice)
        .join(videos, videos.c.id == votes.c.video_id)
        .where(videos.c.round_id == round_id, videos.c.status == VideoStatus.PUBLISHED)
        .where(votes.c.choice.in_((Choice.UP, Choice.DOWN)))
    )


def _feedback_of(round_id: int) -> Select[*tuple[object, ...]]:
    return (
        select(feedback.c.video_id, feedback.c.member_id, feedback.c.text, feedback.c.created_at_ms)
        .join(videos, videos.c.id == feedback.c.video_id)
        .where(videos.c.round_id == round_id, videos.c.status == VideoStatus.PUBLISHED)
    )


async def _rejected(connection: AsyncConnection, round_id: int) -> set[tuple[str, str]]:
    """Return video and voter id of the latest choices that the ledger rejected."""
    later = outbox.alias("later")
    is_overtaken = (
        select(later.c.id)
        .where(later.c.video_id == outbox.c.video_id, later.c.voter_id == outbox.c.voter_id, later.c.id > outbox.c.id)
        .where(later.c.kind.in_(CHOICES), later.c.state.notin_((OutboxState.SUPERSEDED, OutboxState.REJECTED)))
        .exists()
    )
    query = select(outbox.c.video_id, outbox.c.voter_id).where(
        outbox.c.round_id == round_id,
        outbox.c.state == OutboxState.REJECTED,
        outbox.c.kind.in_(CHOICES),
        ~is_overtaken,
    )
    return {(row.video_id, row.voter_id) for row in await connection.execute(query)}


async def _members(connection: AsyncConnection, guild_id: int, member_ids: Sequence[int]) -> dict[int, _Member]:
    table = training_choices.c
    members = {}
    for some in _portions(member_ids):
        query = select(table.member_id, table.notice_at_ms, table.choice).where(
            table.guild_id == guild_id, table.member_id.in_(some)
        )
        for row in await connection.execute(query):
            members[int(row.member_id)] = _Member(row.notice_at_ms, row.choice)
    return members


def _portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    remaining = iter(values)
    while some := list(islice(remaining, AT_ONCE)):
        yield some


async def _stream(
    connection: AsyncConnection, query: Select[*tuple[object, ...]]
) -> AsyncIterator[Row[*tuple[object, ...]]]:
    """Yield the rows as the database gives them, without all of them in memory at once."""
    async with connection.stream(query) as result:
        async for row in result:
            yield row
