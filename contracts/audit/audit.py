"""The audit: every tally computed anew from the chain's log alone, then compared with the contract's storage.

It trusts the chain's node for the log, and nothing else of ours. It can show that the record adds up; it cannot show
that voters are distinct people, nor what a relayer left out (see SECURITY.md). An operator may have the database
compared as well (`contracts.audit.database`).
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.database import compare_database
from contracts.audit.datasets import DatasetCounts, check_dataset
from contracts.audit.log_start import LateStartError, first_block, from_the_beginning
from contracts.audit.releases import check_releases
from contracts.audit.replay import Replay
from contracts.audit.replayed import Unproven
from contracts.audit.report import AuditReport, BattleAudit, RoundAudit, VideoAudit, tally_words
from contracts.audit.rules import Gate
from contracts.ledger.client import Ledger, gather
from contracts.ledger.typed_data import Domain
from contracts.manifests import KIND_NUMBERS
from contracts.outbox.documents import all_documents
from contracts.rpc.node import LedgerError

LOOKUPS = 200  # of entries of each map of the contract: all where there are no more

K = TypeVar("K")
V = TypeVar("V")


async def audit(
    rpc_url: str,
    address: str,
    *,
    round: int | None = None,  # noqa: A002  # the word of the field
    database: AsyncEngine | None = None,
    pepper: bytes | None = None,
    chain_id: int | None = None,
    since: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    documents: Mapping[str, bytes] | None = None,
    dataset: DatasetCounts | None = None,
    gate: Gate | None = None,
) -> AuditReport:
    """Audit a ledger up to the latest block.

    `round` is a ledger number; None takes all rounds. The log is always read whole, from the ledger's deployment on: a
    round's digest and order only make sense in it. `since` is the block of the deployment, or any before; without it
    the block is searched for. `progress` is called with the block up to which the log was asked for, and the last one.
    With a database, its votes, hashes and winners are compared; with the pepper as well, each member's vote. With
    `documents` (manifests and registrations by their hash; those of the database are added), releases and battle
    rounds are followed back to them, and with the release `gate` judged once more by the registered rule; with a
    `dataset`, its counts are compared with the votes. Raises LedgerError when the chain does not answer or no such
    ledger is there, LookupError for a round that the ledger does not hold, LateStartError for a `since` after the
    deployment.
    """
    async with Ledger(rpc_url, address) as ledger:
        actual_chain_id = await ledger.check(chain_id)
        block = await ledger.node.block_number()
        notes: list[str] = []
        replay, since, whole = await _read_log(ledger, actual_chain_id, since, block, notes, progress)
        if round is not None and round not in replay.rounds:
            raise LookupError(f"The ledger holds no round {round}.")
        numbers = [round] if round is not None else list(replay.rounds)
        forged = await _forged_signatures(ledger, replay.unproven, notes)
        report = AuditReport(
            chain_id=actual_chain_id,
            address=ledger.address,
            since=since,
            block=block,
            digest="0x" + replay.digest.hex(),
            batches=replay.seq,
            votes=replay.votes,
            ballots=sum(len(replay.videos[video].ballots) for number in numbers for video in replay.videos_of(number)),
            voters=len(replay.voters),
            linked=len(replay.wallets),
            signed=replay.signed,
            smart=len(replay.unproven) - len(forged),
            unclaimed=replay.unclaimed,
            problems=[*whole, *replay.problems, *forged],
            notes=notes,
        )
        report.problems += [problem async for problem in _compare_contract(ledger, replay, numbers, block)]
    if replay.unclaimed:
        report.notes.append(
            "Choices that the relayer wrote for members who had linked a wallet, into seats from before the link that "
            f"nobody had claimed yet: {replay.unclaimed}."
        )
    video_ids: dict[int, str] = {}
    if database is not None:
        async with database.connect() as connection:
            video_ids = await compare_database(connection, replay, numbers, report, pepper)
            documents = {**await all_documents(connection), **(documents or {})}
    check_releases(replay, documents, report, gate)
    if dataset is not None:
        report.dataset_checked = dataset.root
        report.problems += check_dataset(replay, dataset)
    _fill(report, replay, numbers, video_ids)
    return report


async def _read_log(
    ledger: Ledger,
    chain_id: int,
    since: int | None,
    block: int,
    notes: list[str],
    progress: Callable[[int, int], None] | None,
) -> tuple[Replay, int, list[str]]:
    """Return the log replayed, the block from which it was read, and a sentence where it does not begin as a ledger's
    does.
    """

    async def replayed(first: int) -> Replay:
        replay = Replay(Domain(chain_id, ledger.address))
        reached = None if progress is None else lambda upto: progress(upto, block)
        async for event in from_the_beginning(ledger.events(first, block, reached=reached), first):
            replay.take(event)
        return replay

    if since is not None and since > block:
        raise LateStartError(since)
    first = since
    if first is None:
        first = await first_block(ledger.node, ledger.address, block)
        if first is None:
            notes.append("The node keeps no history in which to look for the ledger's first block: read from block 0.")
            first = 0
    try:
        return await replayed(first), first, []
    except LateStartError:
        if since:
            raise
    if first:  # a node's answers about old blocks that it does not keep are not reliable
        notes.append(f"The ledger is older than block {first}, where the node first shows it: read from block 0.")
        return await _read_log(ledger, chain_id, 0, block, notes, progress)
    replay = Replay(Domain(chain_id, ledger.address))
    async for event in ledger.events(0, block):
        replay.take(event)
    return replay, 0, ["The log does not begin with the ledger's deployment: the node hides a part of it."]


async def _forged_signatures(ledger: Ledger, unproven: Sequence[Unproven], notes: list[str]) -> list[str]:
    """Return sentences for signatures of no key's that are no smart account's either: those have code when they vote.

    The contract asked each of them when its ballot came (EIP-1271), and accepted no other.
    """
    pairs = list(dict.fromkeys((ballot.account, ballot.block) for ballot in unproven))
    no_history = False

    async def has_code(pair: tuple[str, int]) -> bool:
        nonlocal no_history
        try:
            return bool(await ledger.node.code(*pair))
        except LedgerError:
            no_history = True
            return bool(await ledger.node.code(pair[0]))

    smart = dict(zip(pairs, await gather(has_code, pairs), strict=True))
    if no_history:
        notes.append("The node keeps no history: whether a wallet is a smart account was looked up as it is now.")
    return [
        f"{ballot.where} was not signed by wallet {ballot.account}, which is no smart account."
        for ballot in unproven
        if not smart[ballot.account, ballot.block]
    ]


def _fill(report: AuditReport, replay: Replay, numbers: Sequence[int], video_ids: dict[int, str]) -> None:
    """Add the rounds, videos and battles of the log to the report. `video_ids` are the database's, by ledger number."""
    for number in numbers:
        round_ = replay.rounds[number]
        round_videos = replay.videos_of(number)
        by_wallet = len(replay.by_wallet(number))
        report.rounds.append(
            RoundAudit(
                number, round_.opens, round_.closes, round_.grace, round_videos, len(round_.voters) - by_wallet,
                by_wallet, round_.winner, round_.finalized_tx,
            )
        )  # fmt: skip
        for place in round_videos:
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
                    video_id=video_ids.get(place),
                )
            )
        for place in round_.items:
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


async def _compare_contract(ledger: Ledger, replay: Replay, numbers: Sequence[int], at: int) -> AsyncIterator[str]:
    """Yield a sentence for everything in which the contract's storage differs from its log, at one block."""
    counts = await ledger.counts(at)
    expected = {
        "rounds": (len(replay.rounds), counts.rounds),
        "voters": (len(replay.voters), counts.voters),
        "batches": (replay.seq, counts.seq),
        "linked wallets": (len(replay.wallets), counts.linked),
        "signed ballots": (replay.signed, counts.signed),
        "commitments": (replay.commitments, counts.commitments),
    }
    for plural, (logged, stored) in expected.items():
        if logged != stored:
            yield f"The log holds {logged} {plural}, the contract {stored}."
    if replay.digest != counts.digest:
        yield "The digest over all batches in the log is not the contract's: the log is incomplete or altered."
    if replay.signed_digest != counts.signed_digest:
        yield "The digest over all signed ballots in the log is not the contract's: the log is incomplete or altered."
    async for problem in _compare_lookups(ledger, replay, numbers, at):
        yield problem
    for number in numbers:
        round_ = replay.rounds[number]
        info = await ledger.round_info(number, at)
        if (info.opens, info.closes, info.grace) != (round_.opens, round_.closes, round_.grace):
            yield f"Round {number} has other times in the contract than in the log."
        if info.final != (round_.winner is not None) or info.winner != (round_.winner or 0):
            yield f"Round {number} has another result in the contract than in the log."
        if info.seats != round_.seats:
            yield f"Round {number} has {info.seats} seats in the contract, {round_.seats} in the log."
        if await ledger.videos_of(number, at) != round_.items:
            yield f"Round {number} has other videos in the contract than in the log."
        round_videos = replay.videos_of(number)
        tallies = await gather(lambda video: ledger.tally(video, at), round_videos)
        for video, stored_tally in zip(round_videos, tallies, strict=True):
            logged_tally = replay.videos[video].tally
            if stored_tally != logged_tally:
                there, here = tally_words(stored_tally), tally_words(logged_tally)
                yield f"Video {video} has {there} in the contract; its log gives {here}."
        battles = [item for item in round_.items if item in replay.battles]
        for battle, stored_battle in zip(
            battles, await gather(lambda battle: ledger.battle_tally(battle, at), battles), strict=True
        ):
            if stored_battle != replay.battles[battle].tally:
                yield f"Battle {battle} has another tally in the contract than in the log."


async def _compare_lookups(ledger: Ledger, replay: Replay, numbers: Sequence[int], at: int) -> AsyncIterator[str]:
    """Yield a sentence for each number that the contract gives otherwise than its log did.

    Of voters, wallets and videos at most `LOOKUPS` are looked up, drawn anew for each audit.
    """
    entered = [item for number in numbers for item in replay.rounds[number].items]
    item_of = {(replay.videos.get(item) or replay.battles[item]).key: item for item in entered}
    rounds = {replay.rounds[number].key: number for number in numbers}
    for key, stored in await _compare_sample(rounds, lambda key: ledger.round_of(key, at)):
        yield f"The contract knows round {rounds[key]} as round {stored}."
    for key, stored in await _compare_sample(item_of, lambda key: ledger.video_of(key, at)):
        yield f"The contract knows video {item_of[key]} as video {stored}."
    kind_of = {number: kind for kind, number in KIND_NUMBERS.items()}
    commitments = {
        (kind_of[old.kind], old.root): old.number for old in replay.committed.values() if old.kind in kind_of
    }
    for pair, stored in await _compare_sample(commitments, lambda pair: ledger.commitment_of(*pair, at)):
        yield f"The contract knows commitment {commitments[pair]} as commitment {stored}."
    for voter, stored in await _compare_sample(replay.voters, lambda voter: ledger.voter_index(voter, at)):
        yield f"The contract knows voter {replay.voters[voter]} ({voter.hex()[:8]}…) as voter {stored}."
    wallets: dict[int, str | None] = {voter: replay.wallets.get(voter) for voter in replay.indices}
    linked = {voter: wallet for voter, wallet in wallets.items() if wallet is not None}
    unlinked = {voter: wallet for voter, wallet in wallets.items() if wallet is None}
    for group in (linked, unlinked):
        for index, wallet in await _compare_sample(group, lambda index: ledger.wallet_of(index, at)):
            yield f"Voter {index} has wallet {wallet} in the contract, {wallets[index]} in the log."


async def _compare_sample(expected: Mapping[K, V], ask: Callable[[K], Awaitable[V]]) -> list[tuple[K, V]]:
    """Return the entries for which the contract answers otherwise than expected, of some drawn by chance.

    All of them are asked for where they are few.
    """
    keys = list(expected)
    if len(keys) > LOOKUPS:
        keys = random.SystemRandom().sample(keys, LOOKUPS)
    answers = zip(keys, await gather(ask, keys), strict=True)
    return [(key, answer) for key, answer in answers if answer != expected[key]]
