"""The typed client of the VoteLedger contract: reads and events. Signs nothing and sends nothing."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from eth_utils.abi import event_abi_to_log_topic

from contracts.ledger.artifact import keccak_hex, ledger_artefact
from contracts.ledger.batch_codec import decode_arrivals, number_of
from contracts.rpc.node import ChainUnreachableError, LedgerError, Node, NodeRefusedError, WrongLedgerError

At = int | str  # a block's number, or latest | safe | finalized
T = TypeVar("T")
R = TypeVar("R")

VERSION = "2"  # what a ledger of ours says of itself


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

    @property
    def known(self) -> bool:
        return self.closes != 0


@dataclass(frozen=True)
class Counts:
    """How much the ledger holds, and where its batches and signed ballots stand."""

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


def from_hex(value: str) -> bytes:
    """32 bytes from 64 hex digits, with or without 0x. Raises ValueError for anything else."""
    data = bytes.fromhex(value.removeprefix("0x"))
    if len(data) != 32:
        raise ValueError(f"A ledger key or hash has 32 bytes, not {len(data)}.")
    return data


def choice_of(choice: Any) -> tuple[int, int]:
    """Number and choice of one part of a signed ballot, as the log's decoder gives it: by names, or in order."""
    if hasattr(choice, "keys"):
        return int(choice["video"]), int(choice["choice"])
    video, chosen = choice
    return int(video), int(chosen)


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
        """The chain's id, after making sure that the expected chain and exactly our contract are there.

        Raises WrongLedgerError with a sentence otherwise.
        """
        found = await self.node.chain_id()
        if chain_id is not None and found != chain_id:
            raise WrongLedgerError(
                f"The node at {self.node.host} serves chain {found}, but chain {chain_id} is expected."
            )
        code = await self.node.code(self.address)
        if not code:
            raise WrongLedgerError(f"There is no contract at {self.address} on chain {found}; run `flock deploy`.")
        if keccak_hex(code) != ledger_artefact().runtime_keccak:
            told = await self._told_version()
            if told not in (None, VERSION):
                raise WrongLedgerError(
                    f"The contract at {self.address} on chain {found} is version {told} of the ledger, and this FLock "
                    f"writes version {VERSION}. Its record stays as it is; deploy a new ledger with `flock deploy`, "
                    "and put the new address into FLOCK_LEDGER_ADDRESS."
                )
            raise WrongLedgerError(
                f"The contract at {self.address} on chain {found} is not this version's VoteLedger; "
                "check the address, or deploy a new ledger with `flock deploy`."
            )
        return found

    async def _told_version(self) -> str | None:
        """What a contract that is not ours says of its version; None where that is nothing short."""
        try:
            told = str(await self._read("version"))
        except LedgerError:
            return None
        return told if told.isdigit() and len(told) < 4 else None

    async def _read(self, function: str, *args: Any, at: At = "latest") -> Any:
        with self.node.asking():
            return await self._contract.functions[function](*args).call(block_identifier=at)

    async def seq(self, at: At = "latest") -> int:
        return int(await self._read("seq", at=at))

    async def digest(self, at: At = "latest") -> bytes:
        return bytes(await self._read("digest", at=at))

    async def paused(self, at: At = "latest") -> bool:
        return bool(await self._read("paused", at=at))

    async def is_relayer(self, address: str, at: At = "latest") -> bool:
        return bool(await self._read("is_relayer", self.node.checksum(address), at=at))

    async def owner(self, at: At = "latest") -> str:
        """The account that may change the roles, checksummed."""
        return str(await self._read("owner", at=at))

    async def guardian(self, at: At = "latest") -> str:
        """The account that may pause, checksummed."""
        return str(await self._read("guardian", at=at))

    async def counts(self, at: At = "latest") -> Counts:
        names = (
            "rounds_count", "voters_count", "seq", "digest", "linked_count", "signed_count", "signed_digest",
            "commitments_count",
        )  # fmt: skip
        return Counts(*[await self._read(name, at=at) for name in names])

    async def round_of(self, key: bytes, at: At = "latest") -> int:
        """The number of the round of this key; 0 when there is none."""
        return int(await self._read("round_of", key, at=at))

    async def video_of(self, key: bytes, at: At = "latest") -> int:
        """The number of the video or battle of this key; 0 when there is none."""
        return int(await self._read("video_of", key, at=at))

    async def voter_index(self, voter_id: bytes, at: At = "latest") -> int:
        """The voter's index; 0 for one who is not registered."""
        return int(await self._read("voter_index", voter_id, at=at))

    async def voter_indices(self, voter_ids: Sequence[bytes], at: At = "latest") -> list[int]:
        return await gather(lambda voter_id: self.voter_index(voter_id, at), voter_ids)

    async def tally(self, video: int, at: At = "latest") -> Tally:
        return Tally(*(await self._read("tally", video, at=at))[:2])

    async def battle_tally(self, battle: int, at: At = "latest") -> BattleTally:
        return BattleTally(*await self._read("tally", battle, at=at))

    async def vote_of(self, video: int, seat: int, at: At = "latest") -> int:
        """A seat's choice about a video: 0 nothing or withdrawn, 1 up, 2 down; of a battle 1 A, 2 B, 3 tie."""
        return int(await self._read("vote_of", video, seat, at=at))

    async def own_seat(self, round_number: int, voter: int, at: At = "latest") -> int | None:
        """The seat in which a voter votes by signature; None without one."""
        found, seat = await self._read("own_seat", round_number, voter, at=at)
        return int(seat) if found else None

    async def wallet_of(self, voter: int, at: At = "latest") -> str | None:
        """The wallet that a voter has linked; None without one."""
        found = str(await self._read("wallet_of", voter, at=at))
        return None if int(found, 16) == 0 else found

    async def voter_of(self, wallet: str, at: At = "latest") -> tuple[int, int]:
        """The index of the voter who has linked a wallet (0 for none), and the wallet's last nonce."""
        voter, nonce = await self._read("voter_of", self.node.checksum(wallet), at=at)
        return int(voter), int(nonce)

    async def round_info(self, round_number: int, at: At = "latest") -> RoundInfo:
        return RoundInfo(*await self._read("round_info", round_number, at=at))

    async def videos_of(self, round_number: int, at: At = "latest") -> list[int]:
        """The numbers of a round's videos and battles, in the order in which they were entered."""
        info = await self.round_info(round_number, at)
        return [number_of(round_number, place) for place in range(1, info.items + 1)]

    async def seats_of(self, round_number: int, first: int = 0) -> dict[int, int]:
        """Who sits where in a round, by the log from block `first` on: the seat of each voter's index.

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
        topics: Sequence[Any] | None = None,
        reached: Callable[[int], None] | None = None,
    ) -> AsyncIterator[Event]:
        """The ledger's log from block `first` to `last` (both included; None is the latest), in order.

        Asks for `step` blocks at a time, and for fewer where the node finds that too much; `reached` is told each block
        up to which it has asked.
        """
        decoders = self._decoders
        end = await self.node.block_number() if last is None else last
        while first <= end:
            upto = min(end, first + step - 1)
            wanted: dict[str, Any] = {"address": self.address, "fromBlock": first, "toBlock": upto}
            if topics:
                wanted["topics"] = list(topics)
            try:
                with self.node.asking():
                    logs = await self.node.web3.eth.get_logs(wanted)  # type: ignore[arg-type]  # a FilterParams by its fields
            except (NodeRefusedError, ChainUnreachableError) as error:
                too_much = isinstance(error, NodeRefusedError) or "busy" in str(error)
                if not too_much or step == 1:
                    raise
                step = max(1, step // 4)
                continue
            if reached is not None:
                reached(upto)
            for log in logs:
                decoder = decoders.get(bytes(log["topics"][0]))
                if decoder is None:
                    raise WrongLedgerError(f"The ledger's log holds an event that we do not know (block {upto}).")
                found = decoder.process_log(log)
                yield Event(
                    name=str(found["event"]),
                    args=dict(found["args"]),
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
        """The batch that gave a seat: its first seat and its arrivals, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("VotesRecorded", None, round_number)):
            arrivals = list(event.args["arrivals"])
            if 0 <= seat - event.args["first_seat"] < len(decode_arrivals(arrivals)):
                return int(event.args["first_seat"]), arrivals
        return None

    async def batch_tx(self, seq: int, first: int = 0) -> str | None:
        """The transaction of a batch, whoever sent it, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("VotesRecorded", seq)):
            return event.tx
        return None

    async def ballot_tx(self, round_number: int, voter: int, nonce: int, first: int = 0) -> str | None:
        """The transaction of a voter's signed ballot, whoever sent it, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("BallotCast", voter, round_number)):
            if event.args["nonce"] == nonce:
                return event.tx
        return None

    async def finalized_tx(self, round_number: int, first: int = 0) -> str | None:
        """The transaction that finalized a round, whoever sent it, by the log from block `first` on."""
        async for event in self.events(first, topics=self._topics("RoundFinalized", round_number)):
            return event.tx
        return None

    def named(self, *names: str) -> list[list[str]]:
        """What `events` filters by: any of these events."""
        wanted = [topic for topic, decoder in self._decoders.items() if decoder.event_name in names]
        return [["0x" + topic.hex() for topic in wanted]]

    def _topics(self, name: str, *fields: int | None) -> list[str | None]:
        """What `eth_getLogs` filters by: an event's name and its indexed numbers, None for any."""
        topic = next(topic for topic, decoder in self._decoders.items() if decoder.event_name == name)
        numbers = [None if field is None else "0x" + field.to_bytes(32, "big").hex() for field in fields]
        return ["0x" + topic.hex(), *numbers]


async def gather(ask: Callable[[T], Awaitable[R]], values: Iterable[T], *, at_once: int = 16) -> list[R]:
    """The answers to many questions, in order, a few at a time."""
    listed, answers = list(values), []
    for start in range(0, len(listed), at_once):
        answers += await asyncio.gather(*(ask(value) for value in listed[start : start + at_once]))
    return answers
