"""A member's wallet, and what it is asked to sign."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from eth_utils.address import is_checksum_address, to_checksum_address

from bot.domain.errors import AddressError
from bot.domain.votes import Choice
from contracts.ledger.signatures import normalize

WalletState = Literal["linking", "linked", "refused", "unlinking", "unlinked"]
RequestKind = Literal["link", "unlink", "ballot"]

TOKEN = r"[A-Za-z0-9_-]{22}"  # noqa: S105  # what one looks like
_UNDERWAY = ("pending", "batched")


@dataclass(frozen=True)
class Wallet:
    """A member's wallet in a guild; `reason` says why the ledger refused its link, or the unlink of one that stands."""

    guild_id: int
    member_id: int
    voter_id: str
    address: str
    state: WalletState
    reason: str | None = None

    @property
    def signs(self) -> bool:
        """Whether the member's choices count only once they are signed."""
        return self.state in ("linking", "linked")


def wallet_state(link: str, unlink: str | None) -> WalletState:
    """How far a wallet is, by the states of its entries in the outbox."""
    if unlink is not None and unlink != "rejected":
        return "unlinking" if unlink in _UNDERWAY else "unlinked"
    if link in _UNDERWAY:
        return "linking"
    return "linked" if link == "final" else "refused"


@dataclass(frozen=True)
class SignedChoice:
    """One choice of a ballot; `number` is the video's on the ledger."""

    video_id: str
    number: int
    choice: Choice


@dataclass(frozen=True)
class SigningRequest:
    """What a member was asked to sign; the deadline is in seconds since the epoch, as on the ledger."""

    token: str
    guild_id: int
    member_id: int
    voter_id: str
    kind: RequestKind
    wallet: str
    nonce: int
    deadline: int
    expires_at_ms: int
    round_id: int | None = None
    round_number: int = 0  # the ledger's
    choices: tuple[SignedChoice, ...] = ()


def clean_address(text: str) -> str:
    """An address as the ledger writes it. Raises AddressError, also for capital letters that do not check (EIP-55)."""
    plain = text.strip()
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", plain) or int(plain, 16) == 0:
        raise AddressError
    if plain[2:] not in (plain[2:].lower(), plain[2:].upper()) and not is_checksum_address(plain):
        raise AddressError
    return str(to_checksum_address(plain))


def clean_signature(text: str) -> bytes | None:
    """The bytes of a signature as the ledger wants them; None for what cannot be one.

    Takes 65 bytes with v as 0 or 27 and up and either s, the 64 bytes of EIP-2098, and longer ones of smart accounts.
    """
    plain = text.strip().strip("\"'").removeprefix("0x")
    if len(plain) % 2 or not 128 <= len(plain) <= 4096 or not re.fullmatch(r"[0-9a-fA-F]+", plain):
        return None
    return normalize(bytes.fromhex(plain))
