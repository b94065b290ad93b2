"""The provenance card of a video: all that it takes to render it again, and to tell whether it is the same.

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
# Of preset and model: whatever changes pixels, as it was in force; what only spares memory or time is not among it.
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

Json = dict[str, Any]


class CardError(ValueError):
    """A file is no provenance card; str() is a sentence."""


def frames_hash(frames: NDArray[np.uint8]) -> str:
    """SHA-256, in hex, of the frames as the model gave them: "frames height width", a newline, then RGB bytes."""
    digest = hashlib.sha256(f"{frames.shape[0]} {frames.shape[1]} {frames.shape[2]}\n".encode())
    for frame in frames:
        digest.update(frame.tobytes())
    return digest.hexdigest()


def prompt_hash(prompt: str, frames_sha256: str) -> str:
    """What stands in the manifest for the prompt: HMAC-SHA-256 of it, keyed by the hash of the frames.

    The key stands on the card alone and cannot be had from the mp4, so that short prompts cannot be guessed by trying
    words against the file; whoever has the card can check it.
    """
    return hmac.new(bytes.fromhex(frames_sha256), prompt.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def software() -> Json:
    """The versions that frames and bytes depend on."""
    found: Json = {}
    for package in ("flock", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def signed_by(certificate: Certificate | None) -> Json | None:
    """Who signed the file, as the card says it."""
    if certificate is None:
        return None
    return {
        "kind": certificate.kind,
        "name": certificate.name,
        "certificate_sha256": certificate.fingerprint,
        "not_after": f"{certificate.not_after:%Y-%m-%d}",
    }


def read_card(text: str) -> Json:
    """A card from its JSON. Raises CardError."""
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
