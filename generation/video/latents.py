"""Kept latents: a safetensors file beside each mp4, for tuning, and the hash of its numbers on the provenance card.

Imports NumPy and safetensors where they are needed: whoever lacks them can still name the file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from generation.strict_json import JsonObject
from migrations.files import write_private

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Latents = NDArray[np.float16] | NDArray[np.float32]

ENDING = ".latents.safetensors"
TENSOR = "latents"  # its name in the file


def latents_path(video: Path) -> Path:
    """Return the path of the latents of an mp4: beside it."""
    return video.with_suffix(ENDING)


def latents_hash(latents: Latents) -> str:
    """Return SHA-256, in hex, of the latents: their dtype and shape in words, a newline, little-endian numbers."""
    words = " ".join([str(latents.dtype), *map(str, latents.shape)])
    data = latents.astype(latents.dtype.newbyteorder("<"), order="C").tobytes()
    return hashlib.sha256(f"{words}\n".encode() + data).hexdigest()


def describe_latents(latents: Latents | None) -> JsonObject | None:
    """Return the facts that a provenance card has about latents."""
    if latents is None:
        return None
    return {"sha256": latents_hash(latents), "dtype": str(latents.dtype), "shape": list(latents.shape)}


def write_latents(path: Path, latents: Latents) -> None:
    """Write latents, whole or not at all. The same latents give the same bytes. Raises OSError."""
    import numpy as np
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Pipelines hand over views of other memory, and safetensors would write the numbers in the order of that memory.
    write_private(path, save({TENSOR: np.ascontiguousarray(latents)}))


def read_latents(path: Path, sha256: str) -> Latents | None:
    """Return the latents of a file if they are those of that hash; None where it has others, or is none.

    The format holds numbers alone: nothing in it is executed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        latents: Latents | None = load(path.read_bytes()).get(TENSOR)
    except (OSError, SafetensorError):
        return None
    return latents if latents is not None and latents_hash(latents) == sha256 else None
