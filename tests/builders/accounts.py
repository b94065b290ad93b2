"""Wallets for tests: members' keys, and smart accounts (EIP-1271) of a few bytes each, good and bad ones."""

from __future__ import annotations

from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from contracts.ledger.typed_data import signable

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1 (SEC 2)
_ANSWER = "60e01b60005260206000f3"  # shl(224), mstore(0), return(0, 32)
YES = bytes.fromhex("631626ba7e" + _ANSWER)
SMART = {
    "says no": bytes.fromhex("63ffffffff" + _ANSWER),
    "reverts": bytes.fromhex("60006000fd"),
    "never ends": bytes.fromhex("5b600056"),  # jumps to itself
    "writes first": bytes.fromhex("6001600055") + YES,  # sstore(0, 1), which a static call forbids
    "answers with four bytes": bytes.fromhex("631626ba7e60e01b60005260046000f3"),
    "says nothing": bytes.fromhex("00"),
    "echoes the question": bytes.fromhex("60206000600037" + "60206000f3"),  # the selector and a part of the hash
}


# One that any signer can sign.
TRANSACTION = {
    "chainId": 1, "nonce": 0, "to": "0x" + "11" * 20, "data": b"", "value": 0, "gas": 21000, "maxFeePerGas": 2,
    "maxPriorityFeePerGas": 1,
}  # fmt: skip


def member(number: int) -> LocalAccount:
    """A member's key: the same in every run."""
    account: LocalAccount = Account.from_key(keccak(b"member" + number.to_bytes(4, "big")))
    return account


def sign(account: LocalAccount, message: dict[str, Any]) -> bytes:
    """65 bytes: r, s, v."""
    return bytes(account.sign_message(signable(message)).signature)


def high_s(signature: bytes) -> bytes:
    """The other signature that recovers to the same key: s is above half the order, v the other one."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def one_message(message: dict[str, Any]) -> bytes:
    """Code of an account that approves this message and no other."""
    typed = signable(message)
    wanted = keccak(b"\x19" + typed.version + typed.header + typed.body)
    return b"\x7f" + wanted + bytes.fromhex("60043514" + "631626ba7e60e01b" + "02" + "60005260206000f3")


def changing() -> bytes:
    """Code of an account whose owner decides what it says: one byte that anybody sends it is kept.

    0 it says yes, 1 no, 2 it burns all the gas that it is given.
    """
    keep, burn = 0x28, 0x32
    answer = f"60005480600214{_jump(burn)}15631626ba7e60e01b0260005260206000f3"
    head = bytes.fromhex(f"36600114{_jump(keep)}{answer}")
    assert len(head) <= keep
    made = head.ljust(keep, b"\x00") + bytes.fromhex("5b60003560f81c60005500")
    return made.ljust(burn, b"\x00") + bytes.fromhex(f"5b60{burn:02x}56")


def _jump(place: int) -> str:
    return f"60{place:02x}57"


CHEAP_ONLY = bytes.fromhex("3a15" + "631626ba7e60e01b" + "02" + "60005260206000f3")  # yes where the gas costs nothing
