"""The provenance card of a video: everything that is needed to render it again and to compare the result.

Its form is described in docs/provenance.md. Imports no torch, and nothing that encodes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from generation.video.certificates import Certificate

FORMAT = "flock-provenance/1"
PACKAGES = ("diffusers", "torch", "transformers", "numpy", "av")
# The settings of preset and model that change pixels, as they were in force; those that only save memory or time are
# left out.
OF_PRESET: tuple[str, ...] = ("steps", "guidance", "negative_prompt", "width", "height", "frames", "fps", "upscale")
OF_PRESET += (
    "shift",
    "scheduler",
    "scheduler_options",
    "arguments",
    "max_sequence_length",
    "vae_tiling",
    "vae_float32",
)
OF_MODEL = ("pipeline", "dtype", "quantise", "quantise_components", "cache", "cache_threshold", "attention", "compile")
MOST_BYTES = 1 << 20  # of a card's file
_HASH = re.compile(r"[0-9a-f]{64}")

Card = dict[str, Any]  # a JSON object, in the form that docs/provenance.md describes


class CardError(ValueError):
    """A file is no provenance card; the message is a sentence."""


def frames_hash(frames: NDArray[np.uint8]) -> str:
    """Return the SHA-256, in hex, of the frames as the model gave them: "frames height width", a newline, RGB bytes."""
    digest = hashlib.sha256(f"{frames.shape[0]} {frames.shape[1]} {frames.shape[2]}\n".encode())
    for frame in frames:
        digest.update(frame.tobytes())
    return digest.hexdigest()


def prompt_hash(prompt: str, frames_sha256: str) -> str:
    """Return the manifest's stand-in for the prompt: its HMAC-SHA-256, keyed by the hash of the frames.

    The key is on the card alone and cannot be computed from the mp4, so that nobody can guess a short prompt by trying
    words against the file; anybody who has the card can check it.
    """
    return hmac.new(bytes.fromhex(frames_sha256), prompt.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def software_versions() -> dict[str, str | None]:
    """Return the versions of the packages on which frames and bytes depend; None for one that is not installed."""
    versions: dict[str, str | None] = {}
    for package in ("flock", *PACKAGES):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def signed_by(certificate: Certificate | None) -> dict[str, str] | None:
    """Return the signer of the file as the card names it; None for an unsigned file."""
    if certificate is None:
        return None
    return {
        "kind": certificate.kind,
        "name": certificate.name,
        "certificate_sha256": certificate.fingerprint,
        "not_after": f"{certificate.not_after:%Y-%m-%d}",
    }


def read_card(text: str) -> Card:
    """Return a card from its JSON, with at least the fields that a re-render needs. Raises CardError."""
    try:
        card = json.loads(text)
    except ValueError:
        raise CardError("This is no provenance card: it is not JSON.") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CardError(f"This is no provenance card that this release reads ({FORMAT}).")
    model = card.get("model")
    prompt, seed, frames = card.get("prompt"), card.get("seed"), card.get("frames_sha256")
    if not isinstance(prompt, str) or not isinstance(seed, int) or isinstance(seed, bool):
        raise CardError("This provenance card lacks its prompt or its seed.")
    if not isinstance(frames, str) or not _HASH.fullmatch(frames):
        raise CardError("This provenance card lacks the hash of its frames.")
    if not isinstance(model, dict) or not all(isinstance(model.get(name), str) for name in ("id", "revision")):
        raise CardError("This provenance card lacks its model or the model's revision.")
    return card
