"""What a member's wallet signs (EIP-712), and who signed it. Pure functions, no chain and no key.

The messages are plain values for a wallet's `eth_signTypedData_v4`; the ledger checks the same ones on chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_utils.crypto import keccak

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

    def message(self, primary: str, types: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
        return {
            "types": {"EIP712Domain": DOMAIN_FIELDS, **types},
            "primaryType": primary,
            "domain": {
                "name": "VoteLedger",
                "version": "2",
                "chainId": self.chain_id,
                "verifyingContract": self.address,
            },
            "message": content,
        }


def link_message(domain: Domain, wallet: str, voter_id: bytes, nonce: int, deadline: int) -> dict[str, Any]:
    """What a wallet signs to take over a voter's votes. The deadline is in seconds since the epoch."""
    return domain.message("Link", {"Link": LINK_FIELDS}, _about_voter(wallet, voter_id, nonce, deadline))


def unlink_message(domain: Domain, wallet: str, voter_id: bytes, nonce: int, deadline: int) -> dict[str, Any]:
    """What a wallet signs to give a voter's votes back."""
    return domain.message("Unlink", {"Unlink": LINK_FIELDS}, _about_voter(wallet, voter_id, nonce, deadline))


def _about_voter(wallet: str, voter_id: bytes, nonce: int, deadline: int) -> dict[str, Any]:
    return {"wallet": wallet, "voterId": "0x" + voter_id.hex(), "nonce": nonce, "deadline": deadline}


def ballot_message(
    domain: Domain, wallet: str, round_number: int, choices: Sequence[tuple[int, int]], nonce: int, deadline: int
) -> dict[str, Any]:
    """What a wallet signs to vote: (number, choice) of each video and battle; choices as on the ledger."""
    content = {
        "wallet": wallet,
        "round": round_number,
        "choices": [{"video": video, "choice": choice} for video, choice in choices],
        "nonce": nonce,
        "deadline": deadline,
    }
    return domain.message("Ballot", {"Ballot": BALLOT_FIELDS, "Choice": CHOICE_FIELDS}, content)


def signable(message: dict[str, Any]) -> SignableMessage:
    """The message as it is hashed; its `body` is the hash of the content (EIP-712's hashStruct)."""
    return encode_typed_data(full_message=message)


def signer_of(message: dict[str, Any], signature: bytes) -> str | None:
    """The checksummed address that signed the message; None where 65 bytes name nobody, or a smart account signed."""
    if len(signature) != 65:
        return None
    try:
        return str(Account.recover_message(signable(message), signature=signature))
    except Exception:  # the library has no one error for bytes that are no signature
        return None


def next_signed_digest(digest: bytes, wallet: str, message: dict[str, Any]) -> bytes:
    """The ledger's rolling digest after a signed ballot: keccak256(abi.encode(digest, wallet, content))."""
    return keccak(digest + bytes(12) + bytes.fromhex(wallet[2:]) + signable(message).body)
