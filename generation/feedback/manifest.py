"""The manifest of a release, RELEASE.json: what it is made of, in one canonical text whose SHA-256 is on the ledger.

The hash is the root of the release's commitment. The form is that of `contracts/manifests.py`, byte for byte: neither
side imports the other. Standard library alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field

from generation.strict_json import JsonObject, ShapeError, read_dataclass

FORMAT = "flock release 1"
SEED = "seed"  # in the recipe
_HASH = re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """A text is no manifest of a release; str() says in a sentence what is wrong with it."""


@dataclass(frozen=True)
class Manifest:
    """A release. Hashes have 64 hexadecimal digits; numbers are those of the ledger."""

    base_model: str  # id@revision
    adapter: str  # SHA-256 of the adapter's file
    dataset: str  # root of the data set that it was tuned on
    dataset_number: int
    registration: str  # SHA-256 of the registration of its battle round
    round_key: str
    round_number: int
    parent: str | None = None  # root of the release that it continues; None: the base model
    recipe: JsonObject = field(default_factory=dict)  # all that repeats the tuning, with its seed

    @property
    def base(self) -> tuple[str, str]:
        """The base model's id, and its revision."""
        model_id, _, revision = self.base_model.partition("@")
        return model_id, revision

    @property
    def seed(self) -> int:
        """The seed of the tuning."""
        seed = self.recipe[SEED]
        assert isinstance(seed, int)  # noqa: S101  # `check` has looked
        return seed

    def canonical_bytes(self) -> bytes:
        """Return the canonical JSON: sorted names, no spaces, UTF-8, no newline at the end."""
        value = {"format": FORMAT, **dataclasses.asdict(self)}
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "surrogatepass")

    def hash(self) -> str:
        """Return the SHA-256 of the bytes, as `sha256sum` prints it."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()

    def check(self) -> None:
        """Raise ManifestError where a field cannot be right."""
        for name in ("adapter", "dataset", "registration", "round_key", "parent"):
            value = getattr(self, name)
            if not (value is None and name == "parent") and not _HASH.fullmatch(str(value)):
                raise ManifestError(f"The manifest's {name} is no hash of 64 hexadecimal digits.")
        if min(self.dataset_number, self.round_number) < 1:
            raise ManifestError("The manifest names a data set or a round that has no number on the ledger.")
        if not all(self.base):
            raise ManifestError("The manifest names no base model, or no revision of it.")
        seed = self.recipe.get(SEED)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ManifestError("The manifest's recipe has no seed, so nobody could repeat it.")


def read_manifest(data: bytes) -> Manifest:
    """Return the manifest in a file.

    Raises ManifestError unless each byte is as `canonical_bytes` writes it.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ManifestError("The manifest is no JSON.") from None
    if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
        raise ManifestError(f"The manifest's format is not {FORMAT!r}.")
    try:
        manifest = read_dataclass(Manifest, value)
    except ShapeError as error:
        raise ManifestError(str(error)) from None
    manifest.check()
    try:
        canonical = manifest.canonical_bytes()
    except ValueError:
        raise ManifestError("The manifest has a number that is not finite.") from None
    if canonical != data:
        raise ManifestError("The manifest is not in its canonical form, so its hash would not be the ledger's.")
    return manifest
