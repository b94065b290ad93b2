"""The facts of a battle round's registration that an audit compares with the ledger, and the prompts that it fixes.

The ledger holds the registration's SHA-256 alone. What its rule makes of the votes is judged by the gate, which reads
the same text. A reader of this file needs nothing but the texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.manifests import base_model_hash, hex_digits

FORMAT = "flock-battle-registration/1"


class RegistrationError(ValueError):
    """A text is no registration; the sentence names the field."""


@dataclass(frozen=True)
class Registration:
    """The part of a registration that an audit needs. Hashes have 64 hex digits."""

    community: str
    attempt: int
    last_failed: int  # the latest attempt before that did not end in a release; 0 for none
    base_model: str  # id@revision
    live: str | None  # the adapter in use; None for the base model itself
    candidate: str
    dataset: str
    prompts_root: str
    salt_commitment: str | None = None  # SHA-256 of what shows the salt of the sides; None where the text has none
    min_pairs: int | None = None  # of the rule; None where the text has none

    @property
    def models(self) -> frozenset[str]:
        """The hashes of the two sides."""
        return frozenset((self.candidate, self.live or base_model_hash(self.base_model)))

    @classmethod
    def from_bytes(cls, content: bytes) -> Registration:
        """Return the registration that a text holds. Raises RegistrationError for anything else."""
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RegistrationError("it is no JSON") from error
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise RegistrationError(f"its format is not {FORMAT!r}")
        try:
            hashes = {name: hex_digits(fields.get(name), name) for name in ("community", "candidate", "data_root")}
            live, root = fields.get("live_release"), hex_digits(fields.get("prompts_root"), "prompts_root")
            live = None if live is None else hex_digits(live, "live_release")
        except ValueError as error:
            raise RegistrationError(str(error)) from error
        attempt, last_failed = fields.get("attempt"), fields.get("last_failed")
        if not isinstance(attempt, int) or not isinstance(last_failed, int) or not 0 <= last_failed < attempt:
            raise RegistrationError("its attempt cannot follow its last failed one")
        base = f"{fields.get('base_model')}@{fields.get('base_revision')}"
        rule, salt = fields.get("rule"), fields.get("salt_commitment")
        min_pairs = rule.get("min_pairs") if isinstance(rule, dict) else None
        return cls(
            hashes["community"], attempt, last_failed, base, live, hashes["candidate"], hashes["data_root"], root,
            salt_commitment=salt if isinstance(salt, str) else None,
            min_pairs=min_pairs if isinstance(min_pairs, int) else None,
        )  # fmt: skip


def is_registration(content: bytes) -> bool:
    """Return True for a text that is a registration."""
    try:
        Registration.from_bytes(content)
    except RegistrationError:
        return False
    return True


@dataclass(frozen=True)
class RegisteredPrompt:
    """A pair of videos that was to be made. A `catch` pair has a right answer: not the side that is DECOY."""

    pair: str
    prompt: str
    catch: bool

    @property
    def hash(self) -> bytes:
        """SHA-256 of the prompt's text, as a battle on the ledger has it."""
        return hashlib.sha256(self.prompt.encode("utf-8", "surrogatepass")).digest()


def prompts_of(documents: Mapping[str, bytes], root: str) -> list[RegisteredPrompt] | None:
    """Return the prompts whose root this is, from whichever text lists them; None where none does."""
    for content in documents.values():
        if prompts_root_of(content) == root:
            return [
                RegisteredPrompt(str(row.get("pair")), str(row.get("prompt")), row.get("catch") is True)
                for row in json.loads(content)
            ]
    return None


def prompts_root_of(content: bytes) -> str | None:
    """Return the root of the prompts that a text lists; None for a text that is no list of prompts."""
    try:
        rows = json.loads(content)
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            return merkle_root(_canonical(row) for row in rows).hex()
    except (ValueError, RecursionError):  # no JSON, or a number that JSON does not have
        pass
    return None


def merkle_root(entries: Iterable[bytes]) -> bytes:
    """Return the Merkle root of RFC 6962 with SHA-256."""
    return _root([hashlib.sha256(b"\0" + entry).digest() for entry in entries])


def _root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)  # the largest power of two below their number
    return hashlib.sha256(b"\1" + _root(leaves[:middle]) + _root(leaves[middle:])).digest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
