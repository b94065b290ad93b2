"""The audit: every tally computed anew from the chain's log, then compared with whatever else the chain can answer.

The contract's storage, the transactions that wrote the log, their blocks' times, and the transaction that made the
ledger. It trusts the chain's node, and nothing of ours. It can show that the record adds up; it cannot show that voters
are distinct people, nor what a relayer left out (see SECURITY.md). An operator may have the database compared as well
(`contracts.audit.database`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.chain.creation import check_creation
from contracts.audit.chain.entries import LOOKUPS, Entries, Lookups
from contracts.audit.chain.history import compare_history
from contracts.audit.chain.log_start import LateStartError, first_block, from_the_beginning
from contracts.audit.chain.storage import compare_storage
from contracts.audit.database import compare_database
from contracts.audit.datasets import DatasetCounts, check_dataset
from contracts.audit.output.listing import list_rounds
from contracts.audit.releases import check_releases
from contracts.audit.replay import Replay
from contracts.audit.replayed import Unproven
from contracts.audit.report import AuditReport
from contracts.audit.rules import Gate
from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.client import Ledger, UnreadableLogError, gather
from contracts.ledger.typed_data import Domain
from contracts.outbox.documents import all_documents
from contracts.rpc.history import blocks_of, transactions_of
from contracts.rpc.node import LedgerError


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
    lookups: int | None = LOOKUPS,
) -> AuditReport:
    """Audit a ledger up to the latest block.

    `round` is a ledger number; None takes all rounds. The log is always read whole, from the ledger's deployment on: a
    round's digest and order only make sense in it. `since` is the block of the deployment, or any before; without it
    the block is searched for. `progress` is called with the block up to which the log was asked for, and the last one.
    With a database, its votes, hashes and winners are compared; with the pepper as well, each member's vote. With
    `documents` (manifests and registrations by their hash; those of the database are added), releases and battle
    rounds are followed back to them, and with the release `gate` judged once more by the registered rule; with a
    `dataset`, its counts are compared with the votes. Of long lists about `lookups` entries each are compared with the
    chain, all of them for None. Raises LedgerError when the chain does not answer or no such ledger is there,
    LookupError for a round that the ledger does not hold, LateStartError for a `since` after the deployment.
    """
    async with Ledger(rpc_url, address) as ledger:
        actual_chain_id = await ledger.check(chain_id)
        block = await ledger.node.block_number()
        draws = Lookups(lookups)
        log = await _read_log(ledger, actual_chain_id, since, block, progress)
        replay = log.replay
        if round is not None and round not in replay.rounds:
            raise LookupError(f"The ledger holds no round {round}.")
        numbers = [round] if round is not None else list(replay.rounds)
        report = AuditReport(
            chain_id=actual_chain_id,
            address=ledger.address,
            since=log.since,
            block=block,
            digest="0x" + replay.digest.hex(),
            batches=replay.seq,
            votes=replay.votes,
            ballots=sum(len(replay.videos[video].ballots) for number in numbers for video in replay.videos_of(number)),
            voters=len(replay.voters),
            linked=len(replay.wallets),
            signed=replay.signed,
            unclaimed=replay.unclaimed,
            code=ledger_artefact().runtime_keccak,
            signed_digest="0x" + replay.signed_digest.hex(),
            owner=replay.roles.owner,
            guardian=replay.roles.guardian,
            relayers=[relayer for relayer, allowed in replay.roles.relayers.items() if allowed],
            notes=log.notes,
        )
        report.find("log", [*log.problems, *replay.problems, *replay.roles.problems, *log.entries.problems])
        forged = await _forged_signatures(ledger, replay.unproven, report.notes)
        report.smart = len(replay.unproven) - len(forged)
        report.find("signature", forged)
        await _check_creation(ledger, log.entries, report)
        history = await compare_history(
            ledger, log.entries.about(numbers), replay.voters, report.creation_tx or "", draws
        )
        report.find("transaction", history.call_problems)
        report.find("block", history.block_problems)
        report.doubts += history.doubts
        report.notes += history.notes
        report.find("storage", [each async for each in compare_storage(ledger, replay, numbers, block, draws)])
        head = (await blocks_of(ledger.node, [block])).get(block)
        if head is not None:
            report.block_hash, report.block_time = head.hash, head.timestamp
    report.notes += draws.notes
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
    list_rounds(report, replay, numbers, video_ids)
    return report


async def _check_creation(ledger: Ledger, entries: Entries, report: AuditReport) -> None:
    """Add what the transaction that made the ledger shows to the report."""
    first = entries.events[:4]
    if not first:
        return  # that a log is empty is a problem already
    sent = await transactions_of(ledger.node, {first[0].tx: first[0].block})
    creation = check_creation(ledger.address, first, sent.get(first[0].tx))
    report.creation_tx = creation.tx
    report.find("creation", [creation.problem] if creation.problem else [])
    report.doubts += [creation.doubt] if creation.doubt else []


@dataclass
class _Log:
    """A log that was read from block `since` on, and replayed; a problem where it is not whole."""

    since: int
    replay: Replay
    entries: Entries = field(default_factory=Entries)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def _read_log(
    ledger: Ledger, chain_id: int, since: int | None, block: int, progress: Callable[[int, int], None] | None
) -> _Log:
    """Return the log from its beginning. Raises LateStartError for a `since` after it."""

    async def read(first: int, *, whole: bool = True) -> _Log:
        log = _Log(first, Replay(Domain(chain_id, ledger.address)))
        reached = None if progress is None else lambda upto: progress(upto, block)
        events = ledger.events(first, block, reached=reached)
        try:
            async for event in from_the_beginning(events, first) if whole else events:
                log.replay.take(event)
                log.entries.take(event)
        except UnreadableLogError as error:
            log.problems.append(f"{error} What follows it was not read.")
        return log

    if since is not None and since > block:
        raise LateStartError(since)
    notes: list[str] = []
    first = since
    if first is None:
        first = await first_block(ledger.node, ledger.address, block)
        if first is None:
            notes.append("The node keeps no history in which to look for the ledger's first block: read from block 0.")
            first = 0
    try:
        log = await read(first)
    except LateStartError:
        if since:
            raise
        if first:  # a node's answers about old blocks that it does not keep are not reliable
            notes.append(f"The ledger is older than block {first}, where the node first shows it: read from block 0.")
            log = await _read_log(ledger, chain_id, 0, block, progress)
        else:
            log = await read(0, whole=False)
            log.problems.append("The log does not begin with the ledger's deployment: the node hides a part of it.")
    log.notes[:0] = notes
    return log


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
