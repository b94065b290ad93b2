"""The log compared with the chain's own history: block times, the calls that wrote it, and who sent them.

Much that the log tells stands nowhere in the contract's storage: the hashes of videos, the tasks of rounds. It stands
in the transactions. One of them is looked up where many voters were registered at once.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.address import to_checksum_address

from contracts.audit.chain.entries import Lookups
from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.client import Event, Ledger
from contracts.rpc.history import Block, Transaction, blocks_of, transactions_of

WRITES = {  # the events that each of the contract's functions writes
    "transfer_ownership": ("OwnershipTransferStarted",),
    "accept_ownership": ("OwnershipTransferred",),
    "set_relayer": ("RelayerSet",),
    "set_guardian": ("GuardianSet",),
    "pause": ("PauseSet",),
    "unpause": ("PauseSet",),
    "open_round": ("RoundOpened",),
    "add_video": ("VideoAdded",),
    "add_battle": ("BattleAdded",),
    "reveal_battle": ("BattleRevealed",),
    "register": ("VotersRegistered",),
    "batch": ("VotesRecorded",),
    "link": ("WalletLinked",),
    "unlink": ("WalletUnlinked",),
    "claim": ("SeatClaimed",),
    "cast_signed": ("BallotCast",),
    "close_round": ("RoundClosed",),
    "finalize": ("BattleDecided", "RoundFinalized"),
    "commit": ("Committed",),
}
BY_RELAYERS = ("open_round", "add_video", "add_battle", "register", "batch", "link", "close_round", "commit")
LAST = ("VotesRecorded", "BallotCast")  # drawn by chance where they are many: the contract's digests hold them too


@dataclass(frozen=True)
class History:
    """The findings of a comparison, as sentences: contradictions, what the node cannot tell, and what was left out."""

    call_problems: list[str]
    block_problems: list[str]
    doubts: list[str]
    notes: list[str]


async def compare_history(
    ledger: Ledger, events: Iterable[Event], voters: Mapping[bytes, int], creation: str, lookups: Lookups
) -> History:
    """Compare the events of a log with the blocks and transactions that they name.

    `voters` are the indices by the log; `creation` is the transaction that made the ledger, which is looked at
    elsewhere.
    """
    log = list(events)
    entered = {event.tx: event.block for event in log if event.name not in LAST}
    voted = {event.tx: event.block for event in log if event.tx not in entered}
    asked = [
        *lookups.draw("transactions with rounds, videos, voters or wallets", entered, times=10),
        *lookups.draw("transactions with votes", voted),
    ]
    places = entered | voted
    sent = await transactions_of(ledger.node, {tx: places[tx] for tx in asked if tx != creation})
    blocks = await blocks_of(ledger.node, (places[tx] for tx in asked))
    calls = _Calls(ledger.address, sent, voters)
    call_problems = [problem for event in log for problem in calls.check(event)]
    doubts = []
    if missing := [tx for tx in asked if tx not in sent and tx != creation]:
        doubts.append(
            f"The node no longer has {len(missing):,} of {len(asked):,} transactions of the log, such as {missing[0]}: "
            "what only they show cannot be told, the hashes of videos among it. Ask a node that keeps old transactions."
        )
    if gone := {places[tx] for tx in asked} - blocks.keys():
        doubts.append(f"The node has no block {min(gone)}, of which it tells events: its time cannot be told.")
    notes = []
    if calls.elsewhere:
        notes.append(
            f"Transactions that reached the ledger by way of another contract, and were not compared with what they "
            f"wrote: {len(calls.elsewhere):,}."
        )
    return History(call_problems, list(_check_times(log, blocks)), doubts, notes)


def _check_times(log: Iterable[Event], blocks: Mapping[int, Block]) -> Iterator[str]:
    """Yield a sentence for each event that is not in the block that it names, or came at another time than it may."""
    closes: dict[int, int] = {}
    ends: dict[int, int] = {}
    for event in log:
        args, block = event.args, blocks.get(event.block)
        what = f"{event.name} in block {event.block}"
        if block is not None and event.tx not in block.transactions:
            yield f"{what} names transaction {event.tx}, which is not in that block."
        now = None if block is None else block.timestamp
        end = ends.get(args["battle"] >> 10 if "battle" in args else args.get("round", 0))
        if now is not None and args.get("at", now) != now:
            yield f"{what} says that it was written at {args['at']}; its block is of {now}."
        if now is not None and end is not None:
            if event.name in ("VideoAdded", "BattleAdded") and now >= end:
                yield f"{what} came after the end of its round."
            if event.name in ("BattleRevealed", "RoundFinalized") and now < end:
                yield f"{what} came before the end of its round."
        if event.name == "RoundOpened":
            closes[args["round"]], ends[args["round"]] = args["closes"], args["closes"] + args["grace"]
            if now is not None and now >= ends[args["round"]]:
                yield f"{what} opens a round that was over by then."
        if event.name == "RoundClosed":
            told = args["closes"], args["closes"] + args["grace"]
            if now is not None and told != (min(closes.get(args["round"], now), now), now):
                yield f"{what} ends its round at another time than that of its block."
            closes[args["round"]], ends[args["round"]] = told


class _Calls:
    """The calls in the transactions that wrote a log, compared event by event in the order of the log."""

    def __init__(self, address: str, sent: Mapping[str, Transaction], voters: Mapping[bytes, int]) -> None:
        self.elsewhere: set[str] = set()
        self._address, self._sent, self._voters = address, sent, voters
        self._relayers: set[str] = set()
        self._written: Counter[tuple[str, str]] = Counter()
        self._decoded: dict[str, tuple[str, dict[str, Any]] | None] = {}

    def check(self, event: Event) -> Iterator[str]:
        """Yield a sentence for everything in which an event differs from the call that wrote it."""
        transaction = self._sent.get(event.tx)
        if transaction is not None and transaction.to != self._address:
            self.elsewhere.add(event.tx)
        elif transaction is not None:
            yield from self._compare(event, transaction)
        if event.name == "RelayerSet":
            (self._relayers.add if event.args["allowed"] else self._relayers.discard)(event.args["relayer"])

    def _compare(self, event: Event, transaction: Transaction) -> Iterator[str]:
        if event.tx not in self._decoded:
            self._decoded[event.tx] = _decoded(transaction.data)
        call = self._decoded[event.tx]
        what = f"{event.name} in block {event.block}"
        if call is None or event.name not in WRITES[call[0]]:
            yield f"{what} was not written by transaction {event.tx}, which does something else."
            return
        function, inputs = call
        self._written[event.tx, event.name] += 1
        if self._written[event.tx, event.name] == 2 and event.name != "BattleDecided":
            yield f"Transaction {event.tx} wrote {event.name} once; the log holds it more often."
        differs = [name for name, value in inputs.items() if name in event.args and event.args[name] != value]
        if "voter_id" in inputs and self._voters.get(inputs["voter_id"]) != event.args["voter"]:
            differs.append("voter")
        by = {"PauseSet": "by", "OwnershipTransferStarted": "previous_owner", "OwnershipTransferred": "new_owner"}
        if event.name in by and event.args[by[event.name]] != transaction.sender:
            differs.append(by[event.name])
        if differs:
            yield f"{what} has another {' and '.join(differs)} than transaction {event.tx}, which wrote it."
        if function in BY_RELAYERS and transaction.sender not in self._relayers:
            yield f"{what} was written by {transaction.sender}, whom the log never made a relayer."


def _decoded(data: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return the function that a call names, and its arguments by the names of the events' fields."""
    about = _functions().get(data[:4])
    if about is None:
        return None
    function, names, types = about
    try:
        values = decode(types, data[4:])
    except DecodingError:
        return None
    arguments = {name: _as_in_log(kind, value) for name, kind, value in zip(names, types, values, strict=True)}
    if function == "batch":
        arguments["seq"] = arguments.pop("expected_seq")
    if function == "unlink":
        del arguments["nonce"]  # a wallet that sends it itself gives none
    return function, arguments


def _as_in_log(kind: str, value: Any) -> Any:  # as web3 decodes the field of an event
    if kind == "address":
        return to_checksum_address(value)
    return list(value) if isinstance(value, tuple) else value


@functools.cache
def _functions() -> dict[bytes, tuple[str, list[str], list[str]]]:
    """Return the contract's functions that write, by their selector: name, names and types of the arguments."""
    return {
        bytes(function_abi_to_4byte_selector(abi)): (  # type: ignore[arg-type]  # a function of our ABI
            abi["name"],
            [each["name"] for each in abi["inputs"]],
            [_type(each) for each in abi["inputs"]],
        )
        for abi in ledger_artefact().abi
        if abi["type"] == "function" and abi["name"] in WRITES
    }


def _type(field: Mapping[str, Any]) -> str:
    """Return the type of an argument as `eth_abi` writes it: a tuple by its members."""
    if not field["type"].startswith("tuple"):
        return str(field["type"])
    return f"({','.join(_type(each) for each in field['components'])}){field['type'].removeprefix('tuple')}"
