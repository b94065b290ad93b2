"""The ledger's events that others than the relayer brought about: ballots and unlinks that a wallet sent itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from contracts.ledger.client import Ledger, choice_of


@dataclass(frozen=True)
class Cast:
    """A signed ballot in the log; round, voter and videos by their numbers on the ledger."""

    round: int
    voter: int
    wallet: str
    choices: tuple[tuple[int, int], ...]
    nonce: int
    deadline: int
    signature: bytes
    tx: str


@dataclass(frozen=True)
class Unlinked:
    """A voter whom a wallet let go; signatures of the wallet with a nonce up to this one are worth nothing any more."""

    voter: int
    wallet: str
    nonce: int
    tx: str


async def happened(ledger: Ledger, first: int, last: int) -> AsyncIterator[Cast | Unlinked]:
    """Yield signed ballots and unlinks from block `first` to `last`, in the order of the chain, whoever sent them."""
    async for event in ledger.events(first, last, topics=ledger.any_of("BallotCast", "WalletUnlinked")):
        args = event.args
        if event.name == "WalletUnlinked":
            yield Unlinked(args["voter"], args["wallet"], args["nonce"], event.tx)
        else:
            choices = tuple(choice_of(choice) for choice in args["choices"])
            yield Cast(
                args["round"],
                args["voter"],
                args["wallet"],
                choices,
                args["nonce"],
                args["deadline"],
                bytes(args["signature"]),
                event.tx,
            )
