"""The operator's part of an audit: what the database says that members chose, against what the ledger's log holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit.replay import Replay
from contracts.audit.report import AuditReport, tally_words
from contracts.ledger.client import Tally
from contracts.outbox.entries import voter_id
from migrations.schema import chain_transactions, outbox, rounds, videos, votes


async def compare_database(
    connection: AsyncConnection, replay: Replay, chosen: Sequence[int], report: AuditReport, pepper: bytes | None
) -> dict[int, str]:
    """Adds sentences for everything in which the database differs from the log, in the chosen rounds.

    Gives the database's ids of the videos, by their numbers on the ledger.
    """
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
    voters = {index: voter.hex() for voter, index in replay.voters.items()}
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
        await _compare_votes(connection, row, place, replay, voters, report, pepper)
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
    connection: AsyncConnection,
    video: Row[Any],
    place: int,
    replay: Replay,
    names: Mapping[int, str],
    report: AuditReport,
    pepper: bytes | None,
) -> None:
    """The votes table against the outbox, and the outbox against the log; with the pepper, member by member.

    `names` are the voters' ids by their indices.
    """
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
    on_chain = {names.get(index, "?"): choice for index, choice in ballots.items()}
    unsure |= {names.get(index, "?") for index in await _sent_past_us(connection, video, replay, place)}
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
            f"The database counts {tally_words(counted)} for video {place}, but the choices it recorded give "
            f"{tally_words(wanted)}."
        )
    if pepper is not None:
        for row in kept:
            voter = voter_id(pepper, video.guild_id, row.member_id)
            if latest.get(voter, 0) != row.choice:
                report.problems.append(
                    f"A member's vote on video {place} is {row.choice} in the database; recorded was "
                    f"{latest.get(voter, 0)} (voter {voter[:8]}…)."
                )
