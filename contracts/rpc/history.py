"""Blocks and transactions of a chain's past, many in a request. Knows nothing of the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eth_typing import ChecksumAddress

from contracts.rpc.node import ChainUnreachableError, Node


@dataclass(frozen=True)
class Block:
    """A block's header, and the hashes of its transactions. `timestamp` is in seconds since the epoch."""

    number: int
    hash: str
    timestamp: int
    transactions: frozenset[str]


@dataclass(frozen=True)
class Transaction:
    """A transaction as it was sent; `to` is None for one that creates a contract. Addresses have their checksum."""

    tx: str
    sender: ChecksumAddress
    to: ChecksumAddress | None
    nonce: int
    data: bytes


async def blocks_of(node: Node, numbers: Iterable[int]) -> dict[int, Block]:
    """Return the blocks of these numbers, by number; without those that the node does not have."""
    wanted = sorted(set(numbers))
    answers = await node.ask_many([("eth_getBlockByNumber", (hex(number), False)) for number in wanted])
    with _reading(node):
        return {
            number: Block(
                number,
                _lower(answer["hash"]),
                int(answer["timestamp"], 16),
                frozenset(map(_lower, answer["transactions"])),
            )
            for number, answer in zip(wanted, answers, strict=True)
            if answer is not None and int(answer["number"], 16) == number
        }


async def transactions_of(node: Node, places: Mapping[str, int]) -> dict[str, Transaction]:
    """Return transactions by their hash, given the block of each; without those that the node does not have.

    Nodes forget where an old transaction is before they forget its block: what is not found by its hash is looked for
    in the whole block.
    """
    answers = await node.ask_many([("eth_getTransactionByHash", (tx,)) for tx in places])
    with _reading(node):
        found = {tx: _transaction(node, tx, each) for tx, each in zip(places, answers, strict=True) if each is not None}
    blocks = sorted({block for tx, block in places.items() if tx not in found})
    whole = await node.ask_many([("eth_getBlockByNumber", (hex(block), True)) for block in blocks])
    with _reading(node):
        for block in whole:
            for each in [] if block is None else block["transactions"]:
                if isinstance(each, dict) and (tx := _lower(each["hash"])) in places and tx not in found:
                    found[tx] = _transaction(node, tx, each)
    return found


def _transaction(node: Node, tx: str, answer: Mapping[str, Any]) -> Transaction:
    if _lower(answer["hash"]) != tx:
        raise ValueError("It is another transaction.")
    to = answer["to"]
    return Transaction(
        tx,
        node.checksum(answer["from"]),
        None if to is None else node.checksum(to),
        int(answer["nonce"], 16),
        bytes.fromhex(answer["input"].removeprefix("0x")),
    )


def _lower(value: str) -> str:
    return value.lower()


@contextlib.contextmanager
def _reading(node: Node) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ChainUnreachableError(
            f"The chain at {node.host} answers with blocks or transactions that cannot be read."
        ) from None
