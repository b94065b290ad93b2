"""A taste scorer's file (safetensors), and what it must be before anything scores with it. Imports no torch.

It travels as adapters do: the training worker sends it to the bot beside its candidate, and the bot offers it to the
workers that render. numpy is needed only by the check of the numbers themselves.
"""

from __future__ import annotations

import re
from pathlib import Path

from generation.adapters.file import AdapterError, check_numbers
from generation.models.weights import WeightsError, tensors_of
from migrations.files import sha256_file

FOLDER = "tastes"  # in the data folder
BESIDE = "of-adapters"  # in that folder
MOST_BYTES = 64 << 20

_HASH = re.compile(r"[0-9a-f]{64}")


def taste_path(data_dir: Path, sha256: str) -> Path:
    """Return the path of a taste's file at a worker that renders. Raises ValueError for anything but a hash."""
    return data_dir / FOLDER / _named(sha256)


def trained_taste_path(data_dir: Path, adapter_sha256: str) -> Path:
    """Return the path at the bot and at a training worker: the taste that one training left beside its adapter.

    Raises ValueError for anything but a hash.
    """
    return data_dir / FOLDER / BESIDE / _named(adapter_sha256)


def check_taste(path: Path, sha256: str, *, numbers: bool = True) -> None:
    """Raise AdapterError unless a file has this hash and holds the arrays of a taste scorer, and nothing else.

    generation/feedback/scoring/reward.py says what those are. `numbers`: whether each number is looked at as well,
    which needs numpy.
    """
    name = f"The taste {sha256[:8]}…"
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise AdapterError(f"{name} has {size} bytes, and no taste has more than {MOST_BYTES}.")
        if sha256_file(path) != sha256:
            raise AdapterError(f"{name} has another hash than it is named by: its bytes are not those of the training.")
        tensors = tensors_of(path)
    except OSError as error:
        raise AdapterError(f"{name} cannot be read ({error.strerror}).") from error
    except WeightsError as error:
        raise AdapterError(f"{name} cannot be used: {error}") from error
    basis = tensors.get("basis")
    if basis is None or len(basis.shape) != 2 or 0 in basis.shape:
        raise AdapterError(f"{name} is no taste scorer: it has no components, or is empty.")
    features, components = basis.shape
    shapes = {"mean": (features,), "spread": (features,), "basis": basis.shape, "weights": (components,)}
    if {key: (tensor.kind, tensor.shape) for key, tensor in tensors.items()} != {
        key: ("F64", shape) for key, shape in shapes.items()
    }:
        raise AdapterError(f"{name} is no taste scorer: its arrays have other names, kinds or shapes.")
    if numbers:
        check_numbers(path, "taste", largest=None)


def _named(sha256: str) -> str:
    if not _HASH.fullmatch(sha256):
        raise ValueError("A taste is named by a SHA-256, 64 hexadecimal digits.")
    return f"{sha256}.safetensors"
