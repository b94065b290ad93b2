"""The progress of entries on the ledger that the bot may show to members, and the transactions that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.schema import chain_transactions, outbox, rounds, seats, videos, voters
from migrations.states.ledger import OutboxKind, OutboxState, TransactionState

UNDERWAY = (OutboxState.PENDING, OutboxState.BATCHED)  # the states of entries that are not over yet
AT_ONCE = 500  # videos that one statement counts
CHOICES = (OutboxKind.VOTE, OutboxKind.SIGNED)  # the kinds of entries that are a voter's choice about a video


@dataclass(frozen=True)
class RoundProgress:
    """The progress of a round. `entries` counts outbox entries by state; `finalized_tx` is set once its winner stands.

    `rejection` says why its winner never will: the ledger rejected the round itself, or its end.
    """

    chain_id: int | None
    finalized_tx: str | None
    entries: dict[str, int]
    rejection: str | None = None

    @property
    def underway(self) -> int:
        """The number of entries that are not over yet."""
        return sum(self.entries.get(state, 0) for state in UNDERWAY)


@dataclass(frozen=True)
class VoteReceipt:
    """A voter's latest choice about a video and where it stands; all that is needed to look it up on the ledger.

    `voter_index` is the voter's number for life, `seat` the one in the round: `vote_of(video_number, seat)`. A choice
    that a wallet `signed` is in no batch; where the ledger rejected the latest one, `standing` is the choice that
    counts instead.
    """

    choice: int
    state: str  # an OutboxState; never superseded
    reason: str | None
    video_number: int | None
    voter_index: int | None
    seat: int | None
    seq: int | None
    tx: str | None
    signed: bool = False
    standing: int | None = None


async def prompt_salt_or_none(database: AsyncEngine, video_id: str) -> str | None:
    """Return the salt of the ledger's hash of a video's prompt; None for a video without an entry, or an old one."""
    query = select(outbox.c.payload).where(outbox.c.kind == OutboxKind.VIDEO, outbox.c.video_id == video_id)
    async with database.connect() as connection:
        payload = await connection.scalar(query)
    return str(payload["prompt_salt"]) if payload and "prompt_salt" in payload else None


async def drained(database: AsyncEngine, round_id: int) -> bool:
    """Return True if nothing of a round is underway any more: all of it is final, or was rejected with a reason."""
    query = select(func.count()).where(outbox.c.round_id == round_id, outbox.c.state.in_(UNDERWAY))
    async with database.connect() as connection:
        return (await connection.scalar(query)) == 0


async def round_progress(database: AsyncEngine, round_id: int) -> RoundProgress:
    """Return the progress of a round on the ledger. Raises LookupError for a round that does not exist."""
    counts = select(outbox.c.state, func.count()).where(outbox.c.round_id == round_id).group_by(outbox.c.state)
    rejections = (  # a round that was rejected has no end either: its own reason says more
        select(outbox.c.reason)
        .where(outbox.c.round_id == round_id, outbox.c.state == OutboxState.REJECTED)
        .where(outbox.c.kind.in_((OutboxKind.ROUND, OutboxKind.CLOSE)))
        .order_by(case((outbox.c.kind == OutboxKind.ROUND, 0), else_=1))
        .limit(1)
    )
    async with database.connect() as connection:
        row = (
            await connection.execute(select(rounds.c.chain_id, rounds.c.finalized_tx).where(rounds.c.id == round_id))
        ).first()
        entries = {state: int(count) for state, count in await connection.execute(counts)}
        rejection = (await connection.execute(rejections)).first()
    if row is None:
        raise LookupError(f"There is no round {round_id}.")
    reason = None if rejection is None else str(rejection.reason or "The ledger rejected it.")
    return RoundProgress(row.chain_id, row.finalized_tx, entries, reason)


async def count_rejected_votes(database: AsyncEngine, round_id: int) -> int:
    """Return the number of voters' latest choices about a video of a round that the ledger rejected."""
    latest = (
        select(func.max(outbox.c.id))
        .where(outbox.c.round_id == round_id, outbox.c.kind.in_(CHOICES), outbox.c.state != OutboxState.SUPERSEDED)
        .group_by(outbox.c.video_id, outbox.c.voter_id)
    )
    # Counted by a sum: with the state as a condition SQLite would go through all that was ever rejected.
    query = select(func.sum(case((outbox.c.state == OutboxState.REJECTED, 1), else_=0))).where(outbox.c.id.in_(latest))
    async with database.connect() as connection:
        return int(await connection.scalar(query) or 0)


async def recorded_tallies(database: AsyncEngine, round_id: int) -> dict[str, tuple[int, int]]:
    """Return ups and downs by the videos' ids, as far as our record has them final on the ledger."""
    latest = (
        select(func.max(outbox.c.id))
        .where(outbox.c.round_id == round_id, outbox.c.kind.in_(CHOICES), outbox.c.state == OutboxState.FINAL)
        .group_by(outbox.c.video_id, outbox.c.voter_id)
    )
    ups, downs = (func.sum(case((outbox.c.choice == choice, 1), else_=0)) for choice in (1, 2))
    query = select(outbox.c.video_id, ups.label("ups"), downs.label("downs")).where(outbox.c.id.in_(latest))
    async with database.connect() as connection:
        rows = await connection.execute(query.group_by(outbox.c.video_id))
        return {row.video_id: (int(row.ups), int(row.downs)) for row in rows}


async def ledger_counts(database: AsyncEngine, video_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return, by video, how many voters' latest choice is final on the ledger, and how many are on their way there.

    A withdrawal that is final is no choice any more; one that is on its way counts among those.
    """
    counts: dict[str, tuple[int, int]] = {}
    final = case(((outbox.c.state == OutboxState.FINAL) & (outbox.c.choice > 0), 1), else_=0)
    underway = case((outbox.c.state.in_(UNDERWAY), 1), else_=0)
    async with database.connect() as connection:
        for start in range(0, len(video_ids), AT_ONCE):
            latest = (
                select(func.max(outbox.c.id))
                .where(outbox.c.video_id.in_(video_ids[start : start + AT_ONCE]), outbox.c.kind.in_(CHOICES))
                .where(outbox.c.state != OutboxState.SUPERSEDED)
                .group_by(outbox.c.video_id, outbox.c.voter_id)
            )
            query = select(outbox.c.video_id, func.sum(final).label("final"), func.sum(underway).label("underway"))
            rows = await connection.execute(query.where(outbox.c.id.in_(latest)).group_by(outbox.c.video_id))
            counts |= {row.video_id: (int(row.final), int(row.underway)) for row in rows}
    return counts


async def receipts(database: AsyncEngine, video_id: str) -> list[str]:
    """Return the final transactions that hold a video, in order: its entry first, then each batch with its votes."""
    # The entries of a final transaction are final, so that their state need not be asked for. If it were, SQLite might
    # search all entries by it: which of its indexes it takes depends on the order in which an upgrade made them.
    held_in = select(outbox.c.transaction_id).where(outbox.c.video_id == video_id)
    query = (
        select(chain_transactions.c.hashes)
        .where(chain_transactions.c.state == TransactionState.FINAL, chain_transactions.c.id.in_(held_in))
        .order_by(chain_transactions.c.id)
    )
    async with database.connect() as connection:
        rows = (await connection.execute(query)).all()
    return [row.hashes[-1] for row in rows]


async def voter_receipts(database: AsyncEngine, round_id: int, voter_id: str) -> dict[str, VoteReceipt]:
    """Return where a voter's latest choice about each video of a round stands, by the video's id."""
    query = (
        select(
            outbox.c.kind,
            outbox.c.video_id,
            outbox.c.choice,
            outbox.c.state,
            outbox.c.reason,
            outbox.c.payload,
            videos.c.chain_id.label("video_number"),
            voters.c.voter_index,
            seats.c.seat,
            chain_transactions.c.seq,
            chain_transactions.c.hashes,
        )
        .select_from(outbox)
        .outerjoin(videos, videos.c.id == outbox.c.video_id)
        .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
        .outerjoin(seats, (seats.c.round_id == outbox.c.round_id) & (seats.c.voter_id == outbox.c.voter_id))
        .outerjoin(chain_transactions, chain_transactions.c.id == outbox.c.transaction_id)
        .where(outbox.c.round_id == round_id, outbox.c.voter_id == voter_id)
        .where(outbox.c.kind.in_(CHOICES), outbox.c.state != OutboxState.SUPERSEDED)
        .order_by(outbox.c.id)
    )
    ballots = select(outbox.c.id, outbox.c.payload).where(
        outbox.c.kind == OutboxKind.BALLOT, outbox.c.round_id == round_id, outbox.c.voter_id == voter_id
    )
    async with database.connect() as connection:
        rows = (await connection.execute(query)).all()
        sent_by_others = {row.id: row.payload.get("tx") for row in await connection.execute(ballots)}
    receipts_by_video: dict[str, VoteReceipt] = {}
    standing: dict[str, int] = {}
    for row in rows:  # the latest comes last, and stays
        if row.state != OutboxState.REJECTED:
            standing[row.video_id] = int(row.choice)
        receipts_by_video[row.video_id] = VoteReceipt(
            choice=int(row.choice),
            state=row.state,
            reason=row.reason,
            video_number=row.video_number,
            voter_index=row.voter_index,
            seat=row.seat,
            seq=row.seq,
            tx=row.hashes[-1] if row.hashes else sent_by_others.get(row.payload.get("ballot")),
            signed=row.kind == OutboxKind.SIGNED,
            standing=standing.get(row.video_id, 0) if row.state == OutboxState.REJECTED else None,
        )
    return receipts_by_video
