"""A member's wallet, and the requests that it is asked to sign."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from eth_utils.address import is_checksum_address, to_checksum_address

from bot.domain.errors import AddressError
from bot.domain.votes import Choice
from contracts.ledger.signatures import normalize
from migrations.states.community import SigningKind

TOKEN = r"[A-Za-z0-9_-]{22}"  # noqa: S105  # the pattern of tokens, not a token
_UNDERWAY = ("pending", "batched")


class WalletState(StrEnum):
    """The state of a wallet. No column holds it: it follows from the outbox entries of the link and the unlink."""

    LINKING = "linking"  # the link is on its way to the ledger; choices wait for signatures already
    LINKED = "linked"  # the link is final on the ledger
    REFUSED = "refused"  # the ledger rejected the link; the buttons count
    UNLINKING = "unlinking"  # the unlink is on its way to the ledger; nothing is recorded meanwhile
    UNLINKED = "unlinked"  # the unlink is final; the buttons count again


@dataclass(frozen=True)
class Wallet:
    """A member's wallet in a guild.

    `reason` says why the ledger rejected the link, or the unlink of a wallet that is still linked.
    """

    guild_id: int
    member_id: int
    voter_id: str
    address: str
    state: WalletState
    reason: str | None = None

    @property
    def signs(self) -> bool:
        """True where the member's choices count only once they are signed."""
        return self.state in (WalletState.LINKING, WalletState.LINKED)


def wallet_state(link: str, unlink: str | None) -> WalletState:
    """Return the state of a wallet, from the states of its outbox entries."""
    if unlink is not None and unlink != "rejected":
        return WalletState.UNLINKING if unlink in _UNDERWAY else WalletState.UNLINKED
    if link in _UNDERWAY:
        return WalletState.LINKING
    return WalletState.LINKED if link == "final" else WalletState.REFUSED


@dataclass(frozen=True)
class SignedChoice:
    """One choice of a ballot; `number` is the video's number on the ledger."""

    video_id: str
    number: int
    choice: Choice


@dataclass(frozen=True)
class Names:
    """The names of a server and of a member's account, as Discord had them when the member asked to sign."""

    server: str = ""
    member: str = ""  # the account's name, of which Discord has one; anybody may display another's


@dataclass(frozen=True)
class SigningRequest:
    """A request to a member to sign; the deadline is in seconds since the epoch, as on the ledger."""

    token: str
    guild_id: int
    member_id: int
    voter_id: str
    kind: SigningKind
    wallet: str
    nonce: int
    deadline: int
    expires_at_ms: int
    round_id: int | None = None
    round_number: int = 0  # on the ledger
    choices: tuple[SignedChoice, ...] = ()
    names: Names = Names()


def clean_address(text: str) -> str:
    """Return an address as the ledger writes it. Raises AddressError, also for a wrong checksum (EIP-55)."""
    plain = text.strip()
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", plain) or int(plain, 16) == 0:
        raise AddressError
    if plain[2:] not in (plain[2:].lower(), plain[2:].upper()) and not is_checksum_address(plain):
        raise AddressError
    return str(to_checksum_address(plain))


def clean_signature(text: str) -> bytes | None:
    """Return the bytes of a signature as the ledger wants them; None for a text that cannot be a signature.

    Accepted are 65 bytes with either s and with v counted from 0 or from 27, the 64 bytes of EIP-2098, and the longer
    signatures of smart accounts.
    """
    plain = text.strip().strip("\"'").removeprefix("0x")
    if len(plain) % 2 or not 128 <= len(plain) <= 4096 or not re.fullmatch(r"[0-9a-fA-F]+", plain):
        return None
    return normalize(bytes.fromhex(plain))
