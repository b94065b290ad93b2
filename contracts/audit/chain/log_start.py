"""The start of a ledger's log: the block that holds its deployment, and the event that its constructor writes first."""

from __future__ import annotations

from collections.abc import AsyncIterator

from contracts.ledger.client import Event
from contracts.rpc.node import LedgerError, Node


class LateStartError(ValueError):
    """The log was not read from its beginning: nothing can be computed from it."""

    def __init__(self, since: int) -> None:
        super().__init__(
            f"The ledger is older than block {since}: what follows there makes no sense without what came before. "
            "Give the block of its deployment with --since, or any before it: 0 always does."
        )


async def first_block(node: Node, address: str, last: int) -> int | None:
    """Return the first block after which a contract is there; `last` is one at which it is. None where the node cannot
    tell.

    It is found by halves, so that a chain of a hundred million blocks takes 27 questions. Nodes without the state of
    old blocks refuse them, or answer that nothing was there yet: compare the log's first event with that.
    """
    first = 0
    while first < last:
        middle = (first + last) // 2
        try:
            there = bool(await node.code(address, middle))
        except LedgerError:
            return None
        first, last = (first, middle) if there else (middle + 1, last)
    return first


async def from_the_beginning(events: AsyncIterator[Event], since: int) -> AsyncIterator[Event]:
    """Yield the same events. Raises LateStartError where the first is not the constructor's, or where there is none."""
    started = False
    async for event in events:
        if not started and not _is_first(event):
            raise LateStartError(since)
        started = True
        yield event
    if not started:
        raise LateStartError(since)


def _is_first(event: Event) -> bool:
    """Return True for the constructor's event: it hands the ownership over from nobody; no later transfer does."""
    return event.name == "OwnershipTransferred" and int(event.args["previous_owner"], 16) == 0
