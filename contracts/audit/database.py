"""The operator's part of an audit: members' choices by the database, compared with the ledger's log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit.replay import Replay
from contracts.audit.report import AuditReport, tally_words
from contracts.ledger.client import Tally
from contracts.outbox.entries import salted_hash, text_hash, voter_id
from contracts.outbox.progress import CHOICES, UNDERWAY
from migrations.schema import battles, chain_transactions, outbox, rounds, videos, votes
from migrations.states.ledger import OutboxKind, OutboxState

DatabaseRow: TypeAlias = Row[Any]  # a row of rounds or videos; SQLAlchemy Core gives its columns no types


async def compare_database(
    connection: AsyncConnection, replay: Replay, numbers: Sequence[int], report: AuditReport, pepper: bytes | None
) -> dict[int, str]:
    """Add a sentence for everything in which the database differs from the log, in the rounds of these numbers.

    Return the database's ids of the videos, by their numbers on the ledger.
    """
    report.database_checked, report.members_checked = True, pepper is not None
    by_key = {replay.rounds[number].key: number for number in numbers}
    video_ids: dict[int, str] = {}
    keys_in_database: set[bytes] = set()
    for row in (await connection.execute(select(rounds))).all():
        key = bytes.fromhex(row.chain_key.removeprefix("0x"))
        number = by_key.get(key)
        if number is None:
            if row.chain_id is not None and (row.chain_id in numbers or row.chain_id not in replay.rounds):
                report.problems.append(
                    f"Round {row.number} of the database claims to be round {row.chain_id}: it is not."
                )
            continue
        keys_in_database.add(key)
        if row.chain_id is not None and row.chain_id != number:
            report.problems.append(f"Round {row.number} of the database is round {number}, not {row.chain_id}.")
        ids_of_round = await _compare_videos(connection, row, replay, number, report, pepper)
        video_ids |= ids_of_round
        await _compare_battles(connection, row, replay, number, report)
        winner = replay.rounds[number].winner
        if row.winner_video_id is not None and winner is not None and ids_of_round.get(winner) != row.winner_video_id:
            report.problems.append(
                f"The database names {row.winner_video_id} as the winner of round {number}; the ledger names "
                f"{ids_of_round.get(winner) or 'nobody'}."
            )
    report.problems += [f"Round {by_key[key]} is not in the database." for key in by_key if key not in keys_in_database]
    return video_ids


async def _compare_videos(
    connection: AsyncConnection,
    round_row: DatabaseRow,
    replay: Replay,
    number: int,
    report: AuditReport,
    pepper: bytes | None,
) -> dict[int, str]:
    """Compare a round's videos with the log; return their ids, by their numbers on the ledger."""
    video_ids: dict[int, str] = {}
    voters = {index: voter.hex() for voter, index in replay.voters.items()}
    on_ledger = {replay.videos[video].key: video for video in replay.videos_of(number)}
    rows = (await connection.execute(select(videos).where(videos.c.round_id == round_row.id))).all()
    for row in rows:
        place = on_ledger.pop(bytes.fromhex(row.chain_key.removeprefix("0x")), None)
        if place is None:
            if row.chain_id is not None:
                report.problems.append(f"Video {row.id} claims to be video {row.chain_id} of the ledger: it is not.")
            continue
        video_ids[place] = row.id
        if row.sha256 is not None and bytes.fromhex(row.sha256) != replay.videos[place].content_hash:
            report.problems.append(f"The file of video {row.id} is not the one that the ledger names (video {place}).")
        await _compare_prompt(connection, row, place, replay, report)
        latest = await _compare_choices(connection, row, place, replay, voters, report)
        await _compare_votes(connection, row, place, latest, report, pepper)
    report.problems += [f"Video {place} of the ledger is not in the database." for place in on_ledger.values()]
    return video_ids


async def _compare_prompt(
    connection: AsyncConnection, video: DatabaseRow, place: int, replay: Replay, report: AuditReport
) -> None:
    """Compare a video's prompt with the ledger's hash of it: salted, or plain where an earlier version entered it."""
    entry = select(outbox.c.payload).where(outbox.c.kind == OutboxKind.VIDEO, outbox.c.video_id == video.id)
    salt = ((await connection.execute(entry)).scalar() or {}).get("prompt_salt")
    expected = text_hash(video.prompt) if salt is None else salted_hash(video.prompt, salt)
    if bytes.fromhex(expected) != replay.videos[place].prompt_hash:
        report.problems.append(f"The prompt of video {video.id} is not the one that the ledger names (video {place}).")


async def _compare_battles(
    connection: AsyncConnection, round_row: DatabaseRow, replay: Replay, number: int, report: AuditReport
) -> None:
    """Compare a round's battles, and the choices about them, with the log."""
    voters = {index: voter.hex() for voter, index in replay.voters.items()}
    items = [item for item in replay.rounds[number].items if item in replay.battles]
    on_ledger = {replay.battles[battle].key: battle for battle in items}
    for row in (await connection.execute(select(battles).where(battles.c.round_id == round_row.id))).all():
        place = on_ledger.pop(bytes.fromhex(row.chain_key), None)
        if place is not None:
            await _compare_choices(connection, row, place, replay, voters, report)
        elif row.chain_id is not None:
            report.problems.append(f"Battle {row.id} claims to be battle {row.chain_id} of the ledger: it is not.")
    report.problems += [f"Battle {place} of the ledger is not in the database." for place in on_ledger.values()]


async def _voters_ahead_of_database(
    connection: AsyncConnection, round_id: int, replay: Replay, number: int
) -> set[int]:
    """Return the voters whose wallet sent ballots to the ledger of which the database does not know yet."""
    query = select(outbox.c.voter_id, outbox.c.payload).where(
        outbox.c.kind == OutboxKind.BALLOT, outbox.c.round_id == round_id
    )
    known_nonces: dict[int | None, set[int]] = {}
    for row in await connection.execute(query):
        known_nonces.setdefault(replay.voters.get(bytes.fromhex(row.voter_id)), set()).add(row.payload["nonce"])
    return {
        voter
        for (round_number, voter), nonces in replay.ballots.items()
        if round_number == number and nonces - known_nonces.get(voter, set())
    }


async def _compare_choices(
    connection: AsyncConnection,
    item: DatabaseRow,
    place: int,
    replay: Replay,
    voter_ids: Mapping[int, str],
    report: AuditReport,
) -> dict[str, int]:
    """Compare the outbox with the log, for a video or battle; return each voter's latest choice by the outbox."""
    entered = (
        select(outbox.c.kind, outbox.c.voter_id, outbox.c.choice, outbox.c.state, chain_transactions.c.block_number)
        .outerjoin(chain_transactions, chain_transactions.c.id == outbox.c.transaction_id)
        .where(outbox.c.kind.in_(CHOICES), outbox.c.video_id == item.id)
        .order_by(outbox.c.id)
    )
    # A ballot that its wallet sent itself has no transaction of ours: it is on the ledger, or we would not know of it.
    recorded: dict[str, int] = {}  # the last choice in a transaction that was mined up to the audited block
    latest: dict[str, int] = {}  # the last choice of all
    unsure: set[str] = set()  # sent, but we have not seen yet into which block
    for row in await connection.execute(entered):
        report.refused += row.state == OutboxState.REJECTED
        if (row.kind, row.state) == (OutboxKind.SIGNED, OutboxState.REJECTED):
            continue  # the bot takes back what it counted for it
        latest[row.voter_id] = row.choice
        sent_by_wallet = (row.kind, row.state, row.block_number) == (OutboxKind.SIGNED, OutboxState.FINAL, None)
        mined = row.state in (OutboxState.BATCHED, OutboxState.FINAL) and row.block_number is not None
        if sent_by_wallet or (mined and row.block_number <= report.block):
            recorded[row.voter_id] = row.choice
        elif row.state == OutboxState.BATCHED and row.block_number is None:
            unsure.add(row.voter_id)
        report.pending += row.state in UNDERWAY
    about = replay.videos.get(place) or replay.battles[place]
    noun = "video" if place in replay.videos else "battle"
    on_chain = {voter_ids.get(index, "?"): choice for index, choice in about.ballots.items()}
    ahead = await _voters_ahead_of_database(connection, item.round_id, replay, about.round)
    unsure |= {voter_ids.get(index, "?") for index in ahead}
    for voter in sorted({*on_chain, *recorded} - unsure):
        here, there = recorded.get(voter, 0), on_chain.get(voter, 0)
        if here != there:
            report.problems.append(
                f"Voter {voter[:8]}… chose {here} on {noun} {place} by the database, and {there} on the ledger."
            )
    return latest


async def _compare_votes(
    connection: AsyncConnection,
    video: DatabaseRow,
    place: int,
    latest: Mapping[str, int],
    report: AuditReport,
    pepper: bytes | None,
) -> None:
    """Compare the votes table with the latest choices of the outbox; with the pepper, member by member."""
    vote_rows = (await connection.execute(select(votes).where(votes.c.video_id == video.id))).all()
    standing = Counter(row.choice for row in vote_rows)
    expected = Counter(latest.values())
    database_tally, expected_tally = Tally(standing[1], standing[2]), Tally(expected[1], expected[2])
    if database_tally != expected_tally:
        report.problems.append(
            f"The database counts {tally_words(database_tally)} for video {place}, but the choices it recorded give "
            f"{tally_words(expected_tally)}."
        )
    if pepper is not None:
        for row in vote_rows:
            voter = voter_id(pepper, video.guild_id, row.member_id)
            if latest.get(voter, 0) != row.choice:
                report.problems.append(
                    f"A member's vote on video {place} is {row.choice} in the database; recorded was "
                    f"{latest.get(voter, 0)} (voter {voter[:8]}…)."
                )
