"""The facts that the ledger fixes by a hash: a battle's sides, and the manifest of a release. No web3."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from eth_utils.crypto import keccak

from migrations.states.ledger import CommitmentKind

SALT_PREFIX = b"flock battle salt\0"  # with the salt after it: the text whose SHA-256 a registration commits to
KIND_NUMBERS = {CommitmentKind.DATASET: 1, CommitmentKind.RELEASE: 2}  # as the contract has them
FORMAT = "flock release 1"


class ManifestError(ValueError):
    """A text is no manifest of a release; the sentence names the field."""


def sides_hash(model_a: bytes, model_b: bytes, salt: bytes) -> bytes:
    """Return the hash that fixes a battle's sides without telling them: 32 bytes each, the salt secret and random."""
    if any(len(part) != 32 for part in (model_a, model_b, salt)):
        raise ValueError("Models and salt of a battle have 32 bytes each.")
    return keccak(model_a + model_b + salt)


def commitment_key(kind: CommitmentKind, root: bytes) -> bytes:
    """Return the key under which the contract keeps a commitment's number: keccak256(abi.encode(kind, root))."""
    return keccak(KIND_NUMBERS[kind].to_bytes(32, "big") + root)


def canonical_json(value: object) -> bytes:
    """Return the one text of a JSON value that its hash is taken of: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def document_hash(content: bytes) -> str:
    """Return SHA-256 of a text, 64 hex digits: the name by which the ledger knows it."""
    return hashlib.sha256(content).hexdigest()


def hex_digits(value: object, field_name: str) -> str:
    """Return 64 hex digits in lower case, without 0x. Raises ValueError for anything else."""
    plain = value.removeprefix("0x").lower() if isinstance(value, str) else ""
    if len(plain) != 64 or any(digit not in "0123456789abcdef" for digit in plain):
        raise ValueError(f"The {field_name} must be 64 hex digits.")
    return plain


# In a battle's reveal, the side of a catch pair that shows another prompt; the other side is the model in use.
DECOY = document_hash(b"flock catch pair: a video of another prompt")


def base_model_hash(base_model: str) -> str:
    """Return the hash that names a base model without an adapter, id@revision, as the model of a video or a battle."""
    return document_hash(base_model.encode())


@dataclass(frozen=True)
class ReleaseManifest:
    """The manifest of a release; SHA-256 of its canonical JSON is the root of the release's commitment.

    All hashes have 64 hex digits. `parent` is the root of the release that was in use before, None for the first.
    `recipe` is whatever repeats the tuning.
    """

    base_model: str  # its id and revision, id@revision
    adapter: str  # SHA-256 of the adapter's file; the same hash names its side in battles
    dataset: str  # root of the data set that it was tuned on
    dataset_number: int  # of the data set's commitment
    registration: str  # SHA-256 of the registration, which the battle round opened with
    round_key: str  # the ledger's key of the battle round
    round_number: int
    parent: str | None = None
    recipe: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ManifestError for a field that cannot be."""
        try:
            for name in ("adapter", "dataset", "registration", "round_key"):
                if hex_digits(getattr(self, name), f"manifest's {name}") != getattr(self, name):
                    raise ManifestError(f"The manifest's {name} must be in lower case, without 0x.")
            if self.parent is not None:
                hex_digits(self.parent, "manifest's parent")
        except ManifestError:
            raise
        except ValueError as error:
            raise ManifestError(str(error)) from error
        for name in ("dataset_number", "round_number"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ManifestError(f"The manifest's {name} must be a number of the ledger.")
        if not isinstance(self.base_model, str) or not self.base_model:
            raise ManifestError("The manifest names no base_model.")
        if not isinstance(self.recipe, Mapping):
            raise ManifestError("The manifest's recipe must be an object.")

    def to_bytes(self) -> bytes:
        """Return the canonical JSON."""
        return canonical_json({"format": FORMAT, **asdict(self), "recipe": dict(self.recipe)})

    @property
    def root(self) -> str:
        """The root of the release's commitment."""
        return document_hash(self.to_bytes())

    @classmethod
    def from_bytes(cls, content: bytes) -> ReleaseManifest:
        """Return the manifest that a text holds. Raises ManifestError for anything else, with the field."""
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ManifestError("The manifest is no JSON.") from error
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
            raise ManifestError(f"The manifest's format is not {FORMAT!r}.")
        try:
            manifest = cls(**fields)
        except TypeError as error:
            raise ManifestError(f"The manifest has other fields than expected: {error}.") from error
        if manifest.to_bytes() != content:
            raise ManifestError("The manifest is not in its canonical form.")
        return manifest


def is_manifest(content: bytes) -> bool:
    """Return True for a text that claims to be the manifest of a release."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.get("format") == FORMAT
