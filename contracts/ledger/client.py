"""The typed client of the VoteLedger contract: reads and events. Signs nothing and sends nothing."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from eth_abi.exceptions import DecodingError
from eth_utils.abi import event_abi_to_log_topic
from web3.exceptions import Web3Exception

from contracts.ledger.artifact import LEDGER_VERSION, keccak_hex, ledger_artefact
from contracts.ledger.batch_codec import decode_arrivals, number_of
from contracts.manifests import commitment_key
from contracts.rpc.node import ChainUnreachableError, LedgerError, Node, NodeRefusedError, WrongLedgerError
from migrations.states.ledger import CommitmentKind

At = int | str  # a block's number, or latest | safe | finalized
Topic = str | list[str] | None  # a topic in a filter of the log: one, any of some, or any at all
T = TypeVar("T")
R = TypeVar("R")


class Tally(NamedTuple):
    """A video's votes."""

    up: int
    down: int


class BattleTally(NamedTuple):
    """A battle's votes."""

    a: int
    b: int
    ties: int


@dataclass(frozen=True)
class RoundInfo:
    """A round as the ledger holds it; times in seconds since the epoch; winner 0 until final, or without videos.

    Batches are taken for `grace` seconds after `closes`. `items` counts videos and battles, `seats` those that batches
    have given.
    """

    opens: int
    closes: int
    grace: int
    items: int
    seats: int
    final: bool
    winner: int


@dataclass(frozen=True)
class Counts:
    """The size of the ledger, and the positions of its batches and signed ballots."""

    rounds: int
    voters: int
    seq: int
    digest: bytes
    linked: int
    signed: int
    signed_digest: bytes
    commitments: int


@dataclass(frozen=True)
class Event:
    """One entry of the ledger's log. `args` are the event's fields by name; hashes and keys as bytes."""

    name: str
    args: dict[str, Any]
    block: int
    place: int  # within the block
    tx: str


class UnreadableLogError(WrongLedgerError):
    """The log holds something that the contract cannot have written."""


def from_hex(value: str) -> bytes:
    """Return 32 bytes from 64 hex digits, with or without 0x. Raises ValueError for anything else."""
    data = bytes.fromhex(value.removeprefix("0x"))
    if len(data) != 32:
        raise ValueError(f"A ledger key or hash has 32 bytes, not {len(data)}.")
    return data


def choice_of(choice: Mapping[str, int] | Sequence[int]) -> tuple[int, int]:
    """Return number and choice of one part of a signed ballot, as the log's decoder gives it: by names, or in order."""
    if isinstance(choice, Mapping):
        return int(choice["video"]), int(choice["choice"])
    video, number = choice
    return int(video), int(number)


# --------------------------------------------------------------------- client


class Ledger:
    """The ledger at an address of a chain. Call `check` before trusting it, and `close` at the end.

    Every method raises ChainUnreachableError when the node does not answer; see `contracts.rpc.node` for the errors.
    """

    def __init__(self, rpc_url: str, address: str, *, timeout_s: float = 10.0) -> None:
        self.node = Node(rpc_url, timeout_s=timeout_s)
        try:
            self.address: str = self.node.checksum(address)
        except ValueError as error:
            raise ValueError("The ledger's address must be 0x and 40 hex digits.") from error
        self._contract = self.node.web3.eth.contract(address=self.node.checksum(address), abi=ledger_artefact().abi)

    def __repr__(self) -> str:
        return f"Ledger({self.address} on {self.node.host})"

    async def __aenter__(self) -> Ledger:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.node.close()

    async def check(self, chain_id: int | None = None) -> int:
        """Return the chain's id, after making sure that the expected chain and exactly our contract are there.

        Raises WrongLedgerError with a sentence otherwise.
        """
        node_chain = await self.node.chain_id()
        if chain_id is not None and node_chain != chain_id:
            raise WrongLedgerError(
                f"The node at {self.node.host} serves chain {node_chain}, but chain {chain_id} is expected."
            )
        code = await self.node.code(self.address)
        if not code:
            raise WrongLedgerError(f"There is no contract at {self.address} on chain {node_chain}; run `flock deploy`.")
        if keccak_hex(code) != ledger_artefact().runtime_keccak:
            version = await self._own_version()
            if version not in (None, LEDGER_VERSION):
                raise WrongLedgerError(
                    f"The contract at {self.address} on chain {node_chain} is version {version} of the ledger, and "
                    f"this FLock writes version {LEDGER_VERSION}. Its record stays as it is; deploy a new ledger with "
                    "`flock deploy`, and put the new address into FLOCK_LEDGER_ADDRESS."
                )
            raise WrongLedgerError(
                f"The contract at {self.address} on chain {node_chain} is not this version's VoteLedger; "
                "check the address, or deploy a new ledger with `flock deploy`."
            )
        return node_chain

    async def _own_version(self) -> str | None:
        """Return the version of a contract that is not ours, by its own word; None for anything that is not short."""
        try:
            version = str(await self._read("version"))
        except LedgerError:
            return None
        return version if version.isdigit() and len(version) < 4 else None

    async def _read(self, function: str, *args: object, at: At = "latest") -> Any:
        with self.node.asking():
            return await self._contract.functions[function](*args).call(block_identifier=at)  # type: ignore[arg-type]  # web3 wants a literal

    async def seq(self, at: At = "latest") -> int:
        """Return the sequence number of the next batch."""
        return int(await self._read("seq", at=at))

    async def digest(self, at: At = "latest") -> bytes:
        """Return the rolling digest over all batches."""
        return bytes(await self._read("digest", at=at))

    async def paused(self, at: At = "latest") -> bool:
        """Return True while the guardian has paused the ledger."""
        return bool(await self._read("paused", at=at))

    async def is_relayer(self, address: str, at: At = "latest") -> bool:
        """Return True if the ledger takes batches from an account."""
        return bool(await self._read("is_relayer", self.node.checksum(address), at=at))

    async def owner(self, at: At = "latest") -> str:
        """Return the account that may change the roles, checksummed."""
        return str(await self._read("owner", at=at))

    async def guardian(self, at: At = "latest") -> str:
        """Return the account that may pause, checksummed."""
        return str(await self._read("guardian", at=at))

    async def counts(self, at: At = "latest") -> Counts:
        """Return the ledger's counters and digests."""
        names = (
            "rounds_count", "voters_count", "seq", "digest", "linked_count", "signed_count", "signed_digest",
            "commitments_count",
        )  # fmt: skip
        return Counts(*[await self._read(name, at=at) for name in names])

    async def round_of(self, key: bytes, at: At = "latest") -> int:
        """Return the number of the round of this key; 0 when there is none."""
        return int(await self._read("round_of", key, at=at))

    async def video_of(self, key: bytes, at: At = "latest") -> int:
        """Return the number of the video or battle of this key; 0 when there is none."""
        return int(await self._read("video_of", key, at=at))

    async def commitment_of(self, kind: CommitmentKind, root: bytes, at: At = "latest") -> int:
        """Return the number of the commitment to a data set or release; 0 when there is none."""
        return int(await self._read("commitment_of", commitment_key(kind, root), at=at))

    async def voter_index(self, voter_id: bytes, at: At = "latest") -> int:
        """Return the voter's index; 0 for one who is not registered."""
        return int(await self._read("voter_index", voter_id, at=at))

    async def voter_indices(self, voter_ids: Sequence[bytes], at: At = "latest") -> list[int]:
        """Return the voters' indices, in order; 0 for those who are not registered."""
        return await gather(lambda voter_id: self.voter_index(voter_id, at), voter_ids)

    async def tally(self, video: int, at: At = "latest") -> Tally:
        """Return a video's votes."""
        return Tally(*(await self._read("tally", video, at=at))[:2])

    async def battle_tally(self, battle: int, at: At = "latest") -> BattleTally:
        """Return a battle's votes."""
        return BattleTally(*await self._read("tally", battle, at=at))

    async def vote_of(self, video: int, seat: int, at: At = "latest") -> int:
        """Return a seat's choice about a video: 0 nothing or withdrawn, 1 up, 2 down; of a battle 1 A, 2 B, 3 tie."""
        return int(await self._read("vote_of", video, seat, at=at))

    async def own_seat(self, round_number: int, voter: int, at: At = "latest") -> int | None:
        """Return the seat in which a voter votes by signature; None without one."""
        has_seat, seat = await self._read("own_seat", round_number, voter, at=at)
        return int(seat) if has_seat else None

    async def wallet_of(self, voter: int, at: At = "latest") -> str | None:
        """Return the wallet that a voter has linked; None without one."""
        wallet = str(await self._read("wallet_of", voter, at=at))
        return None if int(wallet, 16) == 0 else wallet

    async def voter_of(self, wallet: str, at: At = "latest") -> tuple[int, int]:
        """Return the index of the voter who has linked a wallet (0 for none), and the wallet's last nonce."""
        voter, nonce = await self._read("voter_of", self.node.checksum(wallet), at=at)
        return int(voter), int(nonce)

    async def round_info(self, round_number: int, at: At = "latest") -> RoundInfo:
        """Return a round's times, counters and winner."""
        return RoundInfo(*await self._read("round_info", round_number, at=at))

    async def videos_of(self, round_number: int, at: At = "latest") -> list[int]:
        """Return the numbers of a round's videos and battles, in the order in which they were entered."""
        info = await self.round_info(round_number, at)
        return [number_of(round_number, place) for place in range(1, info.items + 1)]

    async def seats_of(self, round_number: int, first: int = 0) -> dict[int, int]:
        """Return the seat of each voter's index in a round, by the log from block `first` on.

        Only seats that batches have given.
        """
        seats: dict[int, int] = {}
        async for event in self.events(first, topics=self._topics("VotesRecorded", None, round_number)):
            voters = decode_arrivals(list(event.args["arrivals"]))
            seats |= {voter: event.args["first_seat"] + place for place, voter in enumerate(voters)}
        return seats

    async def events(
        self,
        first: int = 0,
        last: int | None = None,
        *,
        step: int = 10_000,
        topics: Sequence[Topic] | None = None,
        reached: Callable[[int], None] | None = None,
    ) -> AsyncIterator[Event]:
        """Yield the ledger's log from block `first` to `last` (both included; None is the latest), in order.

        Asks for `step` blocks at a time, and for fewer where the node finds that too much; `reached` is called with
        each block up to which the log was asked for.
        """
        decoders = self._decoders
        end = await self.node.block_number() if last is None else last
        while first <= end:
            upto = min(end, first + step - 1)
            log_filter: dict[str, object] = {"address": self.address, "fromBlock": first, "toBlock": upto}
            if topics:
                log_filter["topics"] = list(topics)
            try:
                with self.node.asking():
                    logs = await self.node.web3.eth.get_logs(log_filter)  # type: ignore[arg-type]  # a FilterParams by its fields
            except (NodeRefusedError, ChainUnreachableError) as error:
                too_much = isinstance(error, NodeRefusedError) or "busy" in str(error)
                if not too_much or step == 1:
                    raise
                step = max(1, step // 4)
                continue
            if reached is not None:
                reached(upto)
            for log in logs:
                topics_of_log = log["topics"]
                decoder = decoders.get(bytes(topics_of_log[0])) if topics_of_log else None
                if decoder is None:
                    raise UnreadableLogError(f"The ledger's log holds an event that we do not know (block {upto}).")
                try:
                    event = decoder.process_log(log)
                except (Web3Exception, DecodingError, ValueError, TypeError):
                    raise UnreadableLogError(
                        f"The ledger's log holds an event that no ledger writes (block {upto})."
                    ) from None
                yield Event(
                    name=str(event["event"]),
                    args=dict(event["args"]),
                    block=int(log["blockNumber"]),
                    place=int(log["logIndex"]),
                    tx="0x" + bytes(log["transactionHash"]).hex(),
                )
            first = upto + 1

    @functools.cached_property
    def _decoders(self) -> dict[bytes, Any]:
        return {
            bytes(event_abi_to_log_topic(abi)): self._contract.events[abi["name"]]()  # type: ignore[arg-type]  # an event of our ABI
            for abi in ledger_artefact().abi
            if abi["type"] == "event"
        }

    async def roll_of(self, round_number: int, seat: int, first: int = 0) -> tuple[int, list[int]] | None:
        """Return the batch that gave a seat: its first seat and its arrivals, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("VotesRecorded", None, round_number)):
            arrivals = list(event.args["arrivals"])
            if 0 <= seat - event.args["first_seat"] < len(decode_arrivals(arrivals)):
                return int(event.args["first_seat"]), arrivals
        return None

    async def batch_tx(self, seq: int, first: int = 0) -> str | None:
        """Return the transaction of a batch, whoever sent it, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("VotesRecorded", seq)):
            return event.tx
        return None

    async def ballot_tx(self, round_number: int, voter: int, nonce: int, first: int = 0) -> str | None:
        """Return the transaction of a voter's signed ballot, whoever sent it, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("BallotCast", voter, round_number)):
            if event.args["nonce"] == nonce:
                return event.tx
        return None

    async def finalized_tx(self, round_number: int, first: int = 0) -> str | None:
        """Return the transaction that finalized a round, whoever sent it, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("RoundFinalized", round_number)):
            return event.tx
        return None

    async def reveal_of(self, battle: int, first: int = 0) -> Event | None:
        """Return the event by which a battle was revealed, whoever sent it, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("BattleRevealed", battle)):
            return event
        return None

    def any_of(self, *names: str) -> list[Topic]:
        """Return the filter of `events` for any of these events."""
        hashes = [topic for topic, decoder in self._decoders.items() if decoder.event_name in names]
        return [["0x" + topic.hex() for topic in hashes]]

    def _topics(self, name: str, *fields: int | None) -> list[Topic]:
        """Return the filter of `eth_getLogs` for an event's name and its indexed numbers, None for any."""
        topic = next(topic for topic, decoder in self._decoders.items() if decoder.event_name == name)
        numbers = [None if field is None else "0x" + field.to_bytes(32, "big").hex() for field in fields]
        return ["0x" + topic.hex(), *numbers]


async def gather(ask: Callable[[T], Awaitable[R]], values: Iterable[T], *, at_once: int = 16) -> list[R]:
    """Return the answers to many questions, in order; a few are asked at a time."""
    questions, answers = list(values), []
    for start in range(0, len(questions), at_once):
        answers += await asyncio.gather(*(ask(value) for value in questions[start : start + at_once]))
    return answers
