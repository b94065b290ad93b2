"""The audit: every tally computed anew from the chain's log alone, then held against contract and database.

It trusts the chain's node for the log, and nothing else of ours. It can show that what is recorded adds up; it cannot
show that voters are distinct people, nor what a relayer left out (see SECURITY.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger import Ledger, Tally, gather
from contracts.outbox import voter_id
from contracts.replay import Replay
from contracts.wallet import Domain
from migrations.schema import chain_transactions, outbox, rounds, videos, votes


@dataclass(frozen=True)
class VideoAudit:
    """A video by the log: its ledger number, votes, the transactions that hold it, and the database's id if known."""

    number: int
    round: int
    up: int
    down: int
    content_hash: str
    playback_id: str
    tx: list[str]
    video_id: str | None = None


@dataclass(frozen=True)
class BattleAudit:
    """A battle by the log; `outcome` is 1 A, 2 B, 3 a tie, 0 without votes, None while the round is not final.

    The models' hashes are known once they were revealed.
    """

    number: int
    round: int
    a: int
    b: int
    ties: int
    outcome: int | None
    model_a: str | None
    model_b: str | None
    tx: list[str]


@dataclass(frozen=True)
class RoundAudit:
    """A round by the log; `winner` is a ledger number, 0 for nobody, None while it is not final.

    `by_relayer` and `by_wallet` count the voters who have a seat, by who may write it.
    """

    number: int
    opens: int
    closes: int
    grace: int
    videos: list[int]
    by_relayer: int
    by_wallet: int
    winner: int | None
    finalized_tx: str | None


@dataclass
class AuditReport:
    """What was found. `problems` are sentences; without any, `ok` is true.

    `votes` counts the choices in all batches and signed ballots; `ballots` those that stand. `pending` votes are not on
    chain yet and `refused` ones never will be: neither is a contradiction. With one round audited, only its videos are
    listed. `linked` voters vote by wallet; of the `signed` ballots, `smart` have signatures that only the chain can
    check.
    """

    chain_id: int
    address: str
    block: int
    digest: str
    batches: int
    votes: int
    ballots: int
    voters: int
    linked: int = 0
    signed: int = 0
    smart: int = 0
    rounds: list[RoundAudit] = field(default_factory=list)
    videos: list[VideoAudit] = field(default_factory=list)
    battles: list[BattleAudit] = field(default_factory=list)
    pending: int = 0
    refused: int = 0
    database_checked: bool = False
    members_checked: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The report as plain values for `json.dumps`."""
        return {"ok": self.ok, **asdict(self)}


async def audit(
    rpc_url: str,
    address: str,
    *,
    round: int | None = None,  # noqa: A002  # the word of the field
    database: AsyncEngine | None = None,
    pepper: bytes | None = None,
    chain_id: int | None = None,
    since: int = 0,
) -> AuditReport:
    """Audits a ledger up to the latest block, from block `since` (that of its deployment, or any before).

    `round` is a ledger number; None takes all rounds. The log is always read whole: a round's digest and order only
    make sense in it. With a database, its votes, hashes and winners are compared; with the pepper as well, each
    member's vote. Raises LedgerError when the chain does not answer or no such ledger is there, LookupError for a
    round that the ledger does not hold.
    """
    async with Ledger(rpc_url, address) as ledger:
        found_chain = await ledger.check(chain_id)
        block = await ledger.node.block_number()
        replay = Replay(Domain(found_chain, ledger.address))
        async for event in ledger.events(since, block):
            replay.take(event)
        if round is not None and round not in replay.rounds:
            raise LookupError(f"The ledger holds no round {round}.")
        chosen = [round] if round is not None else list(replay.rounds)
        report = AuditReport(
            chain_id=found_chain,
            address=ledger.address,
            block=block,
            digest="0x" + replay.digest.hex(),
            batches=replay.seq,
            votes=replay.votes,
            ballots=sum(len(replay.videos[video].ballots) for number in chosen for video in replay.videos_of(number)),
            voters=len(replay.voters),
            linked=len(replay.wallets),
            signed=replay.signed,
            smart=replay.smart,
            problems=list(replay.problems),
        )
        report.problems += [problem async for problem in _against_contract(ledger, replay, chosen, block)]
    names: dict[int, str] = {}
    if database is not None:
        async with database.connect() as connection:
            names = await _against_database(connection, replay, chosen, report, pepper)
    _tell(report, replay, chosen, names)
    return report


def _tell(report: AuditReport, replay: Replay, chosen: Sequence[int], names: dict[int, str]) -> None:
    for number in chosen:
        about = replay.rounds[number]
        mine = replay.videos_of(number)
        by_wallet = len(replay.by_wallet(number))
        report.rounds.append(
            RoundAudit(
                number, about.opens, about.closes, about.grace, mine, len(about.voters) - by_wallet, by_wallet,
                about.winner, about.finalized_tx,
            )
        )  # fmt: skip
        for place in mine:
            video = replay.videos[place]
            report.videos.append(
                VideoAudit(
                    number=place,
                    round=number,
                    up=video.tally.up,
                    down=video.tally.down,
                    content_hash=video.content_hash.hex(),
                    playback_id=video.playback_id,
                    tx=[video.tx, *dict.fromkeys(video.votes_txs)],
                    video_id=names.get(place),
                )
            )
        for place in about.items:
            if place in replay.battles:
                battle = replay.battles[place]
                model_a, model_b = (None, None) if battle.models is None else [model.hex() for model in battle.models]
                report.battles.append(
                    BattleAudit(
                        place,
                        number,
                        *battle.tally,
                        outcome=battle.outcome,
                        model_a=model_a,
                        model_b=model_b,
                        tx=[battle.tx, *dict.fromkeys(battle.votes_txs)],
                    )
                )


async def _against_contract(ledger: Ledger, replay: Replay, chosen: Sequence[int], at: int) -> AsyncIterator[str]:
    """Sentences for everything in which the contract's storage differs from its log, at one block."""
    counts = await ledger.counts(at)
    expected = {
        "rounds": (len(replay.rounds), counts.rounds),
        "voters": (len(replay.voters), counts.voters),
        "batches": (replay.seq, counts.seq),
        "linked wallets": (len(replay.wallets), counts.linked),
        "signed ballots": (replay.signed, counts.signed),
        "commitments": (replay.commitments, counts.commitments),
    }
    for what, (logged, stored) in expected.items():
        if logged != stored:
            yield f"The log holds {logged} {what}, the contract {stored}."
    if replay.digest != counts.digest:
        yield "The digest over all batches in the log is not the contract's: the log is incomplete or altered."
    if replay.signed_digest != counts.signed_digest:
        yield "The digest over all signed ballots in the log is not the contract's: the log is incomplete or altered."
    for number in chosen:
        about = replay.rounds[number]
        info = await ledger.round_info(number, at)
        if (info.opens, info.closes, info.grace) != (about.opens, about.closes, about.grace):
            yield f"Round {number} has other times in the contract than in the log."
        if info.final != (about.winner is not None) or info.winner != (about.winner or 0):
            yield f"Round {number} has another result in the contract than in the log."
        if info.seats != about.seats:
            yield f"Round {number} has {info.seats} seats in the contract, {about.seats} in the log."
        if await ledger.videos_of(number, at) != about.items:
            yield f"Round {number} has other videos in the contract than in the log."
        mine = replay.videos_of(number)
        tallies = await gather(lambda video: ledger.tally(video, at), mine)
        for video, stored_tally in zip(mine, tallies, strict=True):
            logged_tally = replay.videos[video].tally
            if stored_tally != logged_tally:
                yield f"Video {video} has {_said(stored_tally)} in the contract; its log gives {_said(logged_tally)}."
        battles = [item for item in about.items if item in replay.battles]
        for battle, stored_battle in zip(
            battles, await gather(lambda battle: ledger.battle_tally(battle, at), battles), strict=True
        ):
            if stored_battle != replay.battles[battle].tally:
                yield f"Battle {battle} has another tally in the contract than in the log."


def _said(tally: Tally) -> str:
    return f"{tally.up} up and {tally.down} down"


async def _against_database(
    connection: AsyncConnection, replay: Replay, chosen: Sequence[int], report: AuditReport, pepper: bytes | None
) -> dict[int, str]:
    """Adds sentences for everything in which the database differs; gives the database's ids of the videos."""
    report.database_checked, report.members_checked = True, pepper is not None
    by_key = {replay.rounds[number].key: number for number in chosen}
    names: dict[int, str] = {}
    seen: set[bytes] = set()
    for row in (await connection.execute(select(rounds))).all():
        key = bytes.fromhex(row.chain_key.removeprefix("0x"))
        number = by_key.get(key)
        if number is None:
            if row.chain_id is not None and (row.chain_id in chosen or row.chain_id not in replay.rounds):
                report.problems.append(
                    f"Round {row.number} of the database claims to be round {row.chain_id}: it is not."
                )
            continue
        seen.add(key)
        if row.chain_id is not None and row.chain_id != number:
            report.problems.append(f"Round {row.number} of the database is round {number}, not {row.chain_id}.")
        known = await _compare_videos(connection, row, replay, number, report, pepper)
        names |= known
        winner = replay.rounds[number].winner
        if row.winner_video_id is not None and winner is not None and known.get(winner) != row.winner_video_id:
            report.problems.append(
                f"The database names {row.winner_video_id} as the winner of round {number}; the ledger names "
                f"{known.get(winner) or 'nobody'}."
            )
    report.problems += [f"Round {by_key[key]} is not in the database." for key in by_key if key not in seen]
    return names


async def _compare_videos(
    connection: AsyncConnection,
    round_row: Row[Any],
    replay: Replay,
    number: int,
    report: AuditReport,
    pepper: bytes | None,
) -> dict[int, str]:
    names: dict[int, str] = {}
    on_ledger = {replay.videos[video].key: video for video in replay.videos_of(number)}
    rows = (await connection.execute(select(videos).where(videos.c.round_id == round_row.id))).all()
    for row in rows:
        place = on_ledger.pop(bytes.fromhex(row.chain_key.removeprefix("0x")), None)
        if place is None:
            if row.chain_id is not None:
                report.problems.append(f"Video {row.id} claims to be video {row.chain_id} of the ledger: it is not.")
            continue
        names[place] = row.id
        if row.sha256 is not None and bytes.fromhex(row.sha256) != replay.videos[place].content_hash:
            report.problems.append(f"The file of video {row.id} is not the one that the ledger names (video {place}).")
        await _compare_votes(connection, row, place, replay, report, pepper)
    report.problems += [f"Video {place} of the ledger is not in the database." for place in on_ledger.values()]
    return names


async def _sent_past_us(connection: AsyncConnection, video: Row[Any], replay: Replay, place: int) -> set[int]:
    """Voters whose wallet sent ballots to the ledger of which the database has not heard yet."""
    query = select(outbox.c.voter_id, outbox.c.payload).where(
        outbox.c.kind == "ballot", outbox.c.round_id == video.round_id
    )
    heard: dict[int | None, set[int]] = {}
    for row in await connection.execute(query):
        heard.setdefault(replay.voters.get(bytes.fromhex(row.voter_id)), set()).add(row.payload["nonce"])
    number = replay.videos[place].round
    return {
        voter for (found, voter), told in replay.ballots.items() if found == number and told - heard.get(voter, set())
    }


async def _compare_votes(
    connection: AsyncConnection, video: Row[Any], place: int, replay: Replay, report: AuditReport, pepper: bytes | None
) -> None:
    """The votes table against the outbox, and the outbox against the log; with the pepper, member by member."""
    entered = (
        select(outbox.c.kind, outbox.c.voter_id, outbox.c.choice, outbox.c.state, chain_transactions.c.block_number)
        .outerjoin(chain_transactions, chain_transactions.c.id == outbox.c.transaction_id)
        .where(outbox.c.kind.in_(("vote", "signed")), outbox.c.video_id == video.id)
        .order_by(outbox.c.id)
    )
    # of a ballot that was sent past us we have no transaction: it is on the ledger, or we would not know of it
    recorded: dict[str, int] = {}  # the last choice in a transaction that was mined up to the audited block
    latest: dict[str, int] = {}  # the last choice of all
    unsure: set[str] = set()  # sent, but we have not seen yet into which block
    for row in await connection.execute(entered):
        report.refused += row.state == "rejected"
        if (row.kind, row.state) == ("signed", "rejected"):
            continue  # the bot takes back what it counted for it
        latest[row.voter_id] = row.choice
        heard_of = (row.kind, row.state, row.block_number) == ("signed", "final", None)
        mined = row.state in ("batched", "final") and row.block_number is not None
        if heard_of or (mined and row.block_number <= report.block):
            recorded[row.voter_id] = row.choice
        elif row.state == "batched" and row.block_number is None:
            unsure.add(row.voter_id)
        report.pending += row.state in ("pending", "batched")
    ballots = replay.videos[place].ballots
    by_index = {index: voter.hex() for voter, index in replay.voters.items()}
    on_chain = {by_index.get(index, "?"): choice for index, choice in ballots.items()}
    unsure |= {by_index.get(index, "?") for index in await _sent_past_us(connection, video, replay, place)}
    for voter in sorted({*on_chain, *recorded} - unsure):
        here, there = recorded.get(voter, 0), on_chain.get(voter, 0)
        if here != there:
            report.problems.append(
                f"Voter {voter[:8]}… chose {here} on video {place} by the database, and {there} on the ledger."
            )
    kept = (await connection.execute(select(votes).where(votes.c.video_id == video.id))).all()
    standing = Counter(row.choice for row in kept)
    expected = Counter(latest.values())
    counted, wanted = Tally(standing[1], standing[2]), Tally(expected[1], expected[2])
    if counted != wanted:
        report.problems.append(
            f"The database counts {_said(counted)} for video {place}, but the choices it recorded give {_said(wanted)}."
        )
    if pepper is not None:
        for row in kept:
            voter = voter_id(pepper, video.guild_id, row.member_id)
            if latest.get(voter, 0) != row.choice:
                report.problems.append(
                    f"A member's vote on video {place} is {row.choice} in the database; recorded was "
                    f"{latest.get(voter, 0)} (voter {voter[:8]}…)."
                )
