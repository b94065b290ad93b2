"""The creation of a ledger: only FLock's own creation code can have begun its log and its storage.

The code of a contract shows what it does from now on, and nothing of what its constructor did: one that writes any
storage and any log may end by returning the genuine code. So the transaction that made the contract is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.client import Event
from contracts.rpc.history import Transaction

CANNOT_BE_BELIEVED = "nothing that stands in its log or storage from then can be believed."
ROLES = 3  # arguments of the constructor, and events that it writes


@dataclass(frozen=True)
class Creation:
    """The way a ledger came to be: a contradiction, a doubt, or neither."""

    tx: str
    problem: str | None = None
    doubt: str | None = None


def check_creation(address: str, first: Sequence[Event], transaction: Transaction | None) -> Creation:
    """Return what the transaction of the log's first event shows; `first` are the log's first four events, or fewer.

    An account's transaction without a receiver makes the contract whose address follows from account and nonce, runs
    just the code that it brings, and can do so once.
    """
    tx = first[0].tx
    if transaction is None:
        return Creation(
            tx,
            doubt=f"The node no longer has transaction {tx}, in which the ledger's log begins: whether the ledger was "
            "made by FLock's creation code cannot be told. Ask a node that keeps old transactions.",
        )
    if transaction.to is not None:
        return Creation(
            tx,
            f"The ledger's log begins in transaction {tx}, which creates no contract by itself: one that another "
            f"contract made may have begun with any history; {CANNOT_BE_BELIEVED}",
        )
    made = get_create_address(transaction.sender, Nonce(transaction.nonce))
    if made != address:
        return Creation(tx, f"The ledger's log begins in transaction {tx}, which created another contract, {made}.")
    code = bytes.fromhex(ledger_artefact().bytecode.removeprefix("0x"))
    if not transaction.data.startswith(code) or len(transaction.data) != len(code) + 32 * ROLES:
        return Creation(
            tx,
            f"The ledger was not made by FLock's creation code (transaction {tx}), although its code is genuine now: "
            f"{CANNOT_BE_BELIEVED}",
        )
    try:
        roles = decode(["address"] * ROLES, transaction.data[len(code) :])
    except DecodingError:
        return Creation(tx, f"Transaction {tx} cannot have made the ledger: it names no roles.")
    if not _begins_so(first, tx, [to_checksum_address(role) for role in roles]):
        return Creation(tx, f"The log does not begin with the events of the ledger's creation, transaction {tx}.")
    return Creation(tx)


def _begins_so(first: Sequence[Event], tx: str, roles: Sequence[str]) -> bool:
    """Return True where the first events are the constructor's, no more and no fewer."""
    owner, guardian, relayer = roles
    expected = [
        ("OwnershipTransferred", ["0x" + "0" * 40, owner]),
        ("GuardianSet", [guardian]),
        ("RelayerSet", [relayer, True]),
    ]
    log = [(event.name, list(event.args.values())) for event in first if event.tx == tx]
    return log == expected and [event.tx for event in first[:ROLES]] == [tx] * ROLES
