"""A deployed ledger on a chain in this process: the contract alone, on a real EVM with a clock of our own."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import Web3
from web3.types import Nonce
from web3.utils.address import get_create_address

from bot.demo.chain.blocks import Blocks, Call
from bot.demo.chain.blockstore import ChainError
from contracts.ledger.artifact import ARTEFACT, ledger_artefact
from contracts.ledger.batch_codec import Ballot, encode, encode_arrivals
from contracts.ledger.typed_data import Domain, link_message
from tests.builders.accounts import sign

ABI = ledger_artefact().abi
STORAGE: dict[str, int] = json.loads(ARTEFACT.read_text(encoding="utf-8"))["storage"]
CODEC = Web3().eth.contract(abi=ABI)
START = 1_900_000_000  # seconds since the epoch


class RefusedError(Exception):
    """The contract said no, with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Bench:
    """A deployed ledger on a chain in this process. Time stands still until a test moves it."""

    def __init__(self, directory: Path) -> None:
        self.now = START
        self.directory = directory
        # the same in every run: what transactions cost depends on the bytes of addresses and signatures
        self.owner, self.guardian, self.relayer, self.stranger = (
            Account.from_key(keccak(text=role)) for role in ("owner", "guardian", "relayer", "stranger")
        )
        self._nonces: dict[str, int] = {}
        self.blocks = Blocks(
            directory / "chain.db", chain_id=5, funded=bytes.fromhex(self.owner.address[2:]), clock=lambda: self.now
        )
        for account in (self.guardian, self.relayer, self.stranger):
            self._send(self.owner, account.address, b"", value=10**20)
        roles = [account.address for account in (self.owner, self.guardian, self.relayer)]
        creation = Web3().eth.contract(abi=ABI, bytecode=ledger_artefact().bytecode).constructor(*roles)
        self.deployed = self._send(self.owner, "", bytes.fromhex(creation.data_in_transaction[2:]))
        self.address = get_create_address(self.owner.address, Nonce(3))

    def copy(self, directory: Path) -> Bench:
        """The same ledger on a copy of the chain, so that a test need not deploy its own."""
        made = object.__new__(Bench)
        made.__dict__.update(self.__dict__)
        made._nonces = dict(self._nonces)
        shutil.copy(self.directory / "chain.db", directory / "chain.db")
        made.directory = directory
        made.blocks = Blocks(
            directory / "chain.db", chain_id=5, funded=bytes.fromhex(self.owner.address[2:]), clock=lambda: made.now
        )
        return made

    def _sign(self, who: LocalAccount, to: str, data: bytes, value: int = 0, gas: int = 20_000_000) -> bytes:
        nonce = self._nonces.setdefault(who.address, 0)
        transaction = {
            "chainId": 5, "nonce": nonce, "to": to, "data": data, "value": value, "gas": gas,
            "maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 0,
        }  # fmt: skip
        self._nonces[who.address] += 1
        return bytes(who.sign_transaction(transaction).raw_transaction)

    def _send(self, who: LocalAccount, to: str, data: bytes, value: int = 0) -> dict[str, Any]:
        receipt = self.blocks.store.receipt(self.blocks.send_raw(self._sign(who, to, data, value)))
        assert receipt is not None
        return receipt

    def do(self, who: LocalAccount, function: str, *args: Any) -> dict[str, Any]:
        """Sends a transaction that must succeed; raises RefusedError with the reason when it is reverted."""
        data = bytes.fromhex(CODEC.encode_abi(function, args=list(args))[2:])
        receipt = self._send(who, self.address, data)
        if receipt["status"] != "0x1":
            self.ask(who, data)
            raise AssertionError("the same call is refused and taken")
        return receipt

    def put(self, code: bytes) -> str:
        """Puts a small contract of this code onto the chain; gives its address."""
        address = get_create_address(self.stranger.address, Nonce(self._nonces.get(self.stranger.address, 0)))
        creation = b"\x60" + bytes([len(code)]) + bytes.fromhex("80600b6000396000f3") + code  # copies and returns it
        assert self._send(self.stranger, "", creation)["status"] == "0x1"
        return str(address)

    def suppose(self, **stored: Any) -> None:
        """From now on `ask` answers as if the contract held other values: name=value, or name={key: value} of a map.

        So a test can look at a limit that nobody reaches by sending transactions.
        """
        found = {}
        for name, value in stored.items():
            slot = STORAGE[name]
            for key, content in value.items() if isinstance(value, dict) else [(None, value)]:
                place = (
                    slot if key is None else int.from_bytes(keccak(slot.to_bytes(32, "big") + key.to_bytes(32, "big")))
                )
                found[place] = content
        honest = self.blocks._state

        def state(header: Any) -> Any:
            made = honest(header)
            for slot, content in found.items():
                made.set_storage(bytes.fromhex(self.address[2:]), slot, content)
            return made

        self.blocks._state = state  # type: ignore[method-assign]  # this is what supposing means

    def asked(self, function: str, *args: Any, who: LocalAccount | None = None) -> int:
        """What a transaction that changes something would return. Raises RefusedError."""
        data = bytes.fromhex(CODEC.encode_abi(function, args=list(args))[2:])
        return int.from_bytes(self.ask(who or self.relayer, data)[:32])

    def ask(self, who: LocalAccount, data: bytes) -> bytes:
        call = Call(bytes.fromhex(who.address[2:]), bytes.fromhex(self.address[2:]), data, 0, None)
        try:
            return self.blocks.call(call, None)
        except ChainError as error:
            raise RefusedError(str(error).removeprefix("execution reverted: ")) from error

    def read(self, function: str, *args: Any) -> Any:
        data = bytes.fromhex(CODEC.encode_abi(function, args=list(args))[2:])
        answer = self.ask(self.stranger, data)
        outputs = next(abi["outputs"] for abi in ABI if abi.get("name") == function and abi["type"] == "function")
        found = Web3().codec.decode([output["type"] for output in outputs], answer)
        return found[0] if len(found) == 1 else found

    def events(self, receipt: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The names and fields of a receipt's events, decoded by web3."""
        found = []
        for log in receipt["logs"]:
            for abi in ABI:
                if abi["type"] == "event":
                    with contextlib.suppress(Exception):
                        event = CODEC.events[abi["name"]]().process_log(_typed(log))
                        found.append((str(event["event"]), dict(event["args"])))
        return found

    def round(self, key: bytes = b"r" * 32, seconds: int = 3600, grace: int = 0) -> int:
        self.do(self.relayer, "open_round", key, self.now, self.now + seconds, grace, b"m" * 32)
        return int(self.read("round_of", key))

    def video(self, round_number: int, key: bytes = b"v" * 32) -> int:
        self.do(self.relayer, "add_video", key, round_number, b"p" * 32, b"c" * 32, b"o" * 32, "play1")
        return int(self.read("video_of", key))

    def voters(self, count: int, first: int = 1) -> None:
        named = [number.to_bytes(32, "big") for number in range(first, first + count)]
        for start in range(0, count, 256):
            self.do(self.relayer, "register", named[start : start + 256])

    def battle(self, round_number: int, key: bytes = b"b" * 32, sides: bytes = b"s" * 32) -> int:
        self.do(self.relayer, "add_battle", key, round_number, b"p" * 32, b"a" * 32, b"b" * 32, sides)
        return int(self.read("video_of", key))

    def vote(
        self, ballots: Sequence[Ballot], arrivals: Sequence[int] = (), battles: Sequence[int] = ()
    ) -> dict[str, Any]:
        """A batch of these ballots, all of one round; `arrivals` are the voters who take the next seats."""
        words = encode(ballots, set(battles))
        return self.do(
            self.relayer, "batch", self.read("seq"), ballots[0].video >> 10, encode_arrivals(arrivals), words
        )

    def link(self, voter: int, wallet: LocalAccount, nonce: int = 1) -> None:
        """Hands a voter of `voters` to a wallet."""
        named = voter.to_bytes(32, "big")
        signature = sign(wallet, link_message(self.domain, wallet.address, named, nonce, self.now))
        self.do(self.relayer, "link", named, wallet.address, nonce, self.now, signature)

    @property
    def domain(self) -> Domain:
        return Domain(5, self.address)

    def seat(self, round_number: int, video: int, voters: Sequence[int]) -> None:
        """Gives these voters the round's next seats: each votes up on the video and takes it back."""
        first = int(self.read("round_info", round_number)[4])
        seats = range(first, first + len(voters))
        self.vote([Ballot(video, seat, 1) for seat in seats], voters)
        self.vote([Ballot(video, seat, 0) for seat in seats])


def _typed(log: dict[str, Any]) -> Any:
    hexed = ("data", "transactionHash", "blockHash")
    return {
        **log,
        **{name: bytes.fromhex(log[name][2:]) for name in hexed},
        "topics": [bytes.fromhex(topic[2:]) for topic in log["topics"]],
        **{name: int(log[name], 16) for name in ("logIndex", "transactionIndex", "blockNumber")},
    }


def refused(function: Any, *args: Any) -> str:
    """The reason with which the ledger refuses."""
    with pytest.raises(Exception) as caught:  # its reason is what the test looks at
        function(*args)
    return str(getattr(caught.value, "reason", repr(caught.value)))
