"""The messages that a member's wallet signs (EIP-712), and their signer. Pure functions, no chain and no key.

The messages are plain values for a wallet's `eth_signTypedData_v4`; the ledger checks the same ones on chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_utils.crypto import keccak

from contracts.ledger.artifact import LEDGER_VERSION

TypedData: TypeAlias = dict[str, object]  # a message for `eth_signTypedData_v4`

DOMAIN_FIELDS = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
LINK_FIELDS = [
    {"name": "wallet", "type": "address"},
    {"name": "voterId", "type": "bytes32"},
    {"name": "nonce", "type": "uint256"},
    {"name": "deadline", "type": "uint256"},
]
BALLOT_FIELDS = [
    {"name": "wallet", "type": "address"},
    {"name": "round", "type": "uint256"},
    {"name": "choices", "type": "Choice[]"},
    {"name": "nonce", "type": "uint256"},
    {"name": "deadline", "type": "uint256"},
]
CHOICE_FIELDS = [{"name": "video", "type": "uint256"}, {"name": "choice", "type": "uint256"}]


@dataclass(frozen=True)
class Domain:
    """The ledger that a signature is for: one made for another chain or contract is worth nothing here."""

    chain_id: int
    address: str

    def message(self, primary: str, types: dict[str, object], content: dict[str, object]) -> TypedData:
        """Return a whole message: types, domain and content."""
        return {
            "types": {"EIP712Domain": DOMAIN_FIELDS, **types},
            "primaryType": primary,
            "domain": {
                "name": "VoteLedger",
                "version": LEDGER_VERSION,
                "chainId": self.chain_id,
                "verifyingContract": self.address,
            },
            "message": content,
        }


def link_message(domain: Domain, wallet: str, voter_id: bytes, nonce: int, deadline: int) -> TypedData:
    """Return the message by which a wallet takes over a voter's votes. The deadline is in seconds since the epoch."""
    return domain.message("Link", {"Link": LINK_FIELDS}, _about_voter(wallet, voter_id, nonce, deadline))


def unlink_message(domain: Domain, wallet: str, voter_id: bytes, nonce: int, deadline: int) -> TypedData:
    """Return the message by which a wallet gives a voter's votes back."""
    return domain.message("Unlink", {"Unlink": LINK_FIELDS}, _about_voter(wallet, voter_id, nonce, deadline))


def _about_voter(wallet: str, voter_id: bytes, nonce: int, deadline: int) -> dict[str, object]:
    return {"wallet": wallet, "voterId": "0x" + voter_id.hex(), "nonce": nonce, "deadline": deadline}


def ballot_message(
    domain: Domain, wallet: str, round_number: int, choices: Sequence[tuple[int, int]], nonce: int, deadline: int
) -> TypedData:
    """Return the message by which a wallet votes: (number, choice) of each video and battle, as on the ledger."""
    content: dict[str, object] = {
        "wallet": wallet,
        "round": round_number,
        "choices": [{"video": video, "choice": choice} for video, choice in choices],
        "nonce": nonce,
        "deadline": deadline,
    }
    return domain.message("Ballot", {"Ballot": BALLOT_FIELDS, "Choice": CHOICE_FIELDS}, content)


def signable(message: TypedData) -> SignableMessage:
    """Return the message as it is hashed; its `body` is the hash of the content (EIP-712's hashStruct)."""
    return encode_typed_data(full_message=message)


def signer_of(message: TypedData, signature: bytes) -> str | None:
    """Return the checksummed address that signed the message.

    None where 65 bytes name nobody, or a smart account signed.
    """
    if len(signature) != 65:
        return None
    try:
        return str(Account.recover_message(signable(message), signature=signature))
    except Exception:  # the library has no one error for bytes that are no signature
        return None


def next_signed_digest(digest: bytes, wallet: str, message: TypedData) -> bytes:
    """Return the ledger's rolling digest after a signed ballot: keccak256(abi.encode(digest, wallet, content))."""
    return keccak(digest + bytes(12) + bytes.fromhex(wallet[2:]) + signable(message).body)
