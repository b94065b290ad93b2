"""Accounts that are contracts, and that say themselves whether they signed something (EIP-1271)."""

from __future__ import annotations

from eth_utils.crypto import keccak

from contracts.ledger import typed_data
from contracts.ledger.typed_data import TypedData
from contracts.rpc.node import LedgerRefusedError, Node, NodeRefusedError, WrongLedgerError

ACCEPTED = bytes.fromhex("1626ba7e")  # isValidSignature(bytes32,bytes), the call and the answer alike


async def signed(node: Node, address: str, message: TypedData, signature: bytes) -> bool:
    """Return True if an address signed a message: by its key, or as a contract that says so.

    Raises ChainUnreachableError where the chain has to be asked and does not answer.
    """
    if typed_data.signer_of(message, signature) == address:
        return True
    if not await node.code(address):
        return False
    typed = typed_data.signable(message)
    digest = keccak(b"\x19" + typed.version + typed.header + typed.body)
    padded = signature + bytes(-len(signature) % 32)
    data = ACCEPTED + digest + (64).to_bytes(32, "big") + len(signature).to_bytes(32, "big") + padded
    try:
        answer = await node.call(address, data)
    except (LedgerRefusedError, NodeRefusedError, WrongLedgerError):
        return False
    return answer == ACCEPTED.ljust(32, b"\0")
