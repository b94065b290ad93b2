"""An adapter's file (LoRA, safetensors), named by its SHA-256, and what it must be before anything loads it.

Imports no torch; numpy is needed only by the check of the numbers themselves.
"""

from __future__ import annotations

import json
import re
from math import prod
from pathlib import Path
from typing import Any, cast

from generation.models.weights import WeightsError, list_tensors, tensors_of
from migrations.files import sha256_file

FOLDER = "adapters"  # in the data folder of bot and worker
PART_BYTES = 1 << 20
MOST_PARTS = 1024  # the table takes no more
MOST_BYTES = MOST_PARTS * PART_BYTES
KINDS = ("F32", "F16", "BF16")

_HASH = re.compile(r"[0-9a-f]{64}")
_HALF = re.compile(r"(?P<layer>(transformer|transformer_2|unet)\.[\w.]+)\.lora_(?P<half>[AB])\.weight")
_NUMBERS = 1 << 22  # that are looked at together
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # numpy has no BF16: its two bytes are widened
_DTYPES |= {"F64": "<f8"}  # of taste scorers
LARGEST = 1e3  # of a number in an adapter: what is larger is no adapter that training would make


class AdapterError(Exception):
    """The file of an adapter or a taste is not there, or is not what it must be; str() is a sentence for operators."""


def adapter_path(data_dir: Path, sha256: str) -> Path:
    """Return the path of an adapter's file in a data folder. Raises ValueError for anything but a hash."""
    if not _HASH.fullmatch(sha256):
        raise ValueError("An adapter is named by its SHA-256, 64 hexadecimal digits.")
    return data_dir / FOLDER / f"{sha256}.safetensors"


def check_adapter(path: Path, sha256: str) -> None:
    """Raise AdapterError unless a file has this hash and holds whole pairs of LoRA halves, and nothing else."""
    name = f"The adapter {sha256[:8]}…"
    try:
        if sha256_file(path) != sha256:
            raise AdapterError(f"{name} has another hash than its release names: its bytes are not those that won.")
        check_pairs(path, name)
    except OSError as error:
        raise AdapterError(f"{name} cannot be read ({error.strerror}).") from error


def check_pairs(path: Path, name: str) -> None:
    """Raise AdapterError unless a file holds whole pairs of LoRA halves, and not a byte beside them.

    `name` begins the sentence. Raises OSError where the file cannot be read.
    """
    try:
        tensors = tensors_of(path)
    except WeightsError as error:
        raise AdapterError(f"{name} cannot be used: {error}") from error
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, tensor in tensors.items():
        half = _HALF.fullmatch(key)
        if half is None or tensor.kind not in KINDS or len(tensor.shape) < 2 or 0 in tensor.shape:
            raise AdapterError(f"{name} holds {list_tensors([key])}, which is no half of a LoRA pair.")
        halves.setdefault(half["layer"], {})[half["half"]] = tensor.shape
    if not halves:
        raise AdapterError(f"{name} is empty.")
    for layer, shapes in halves.items():
        if set(shapes) != {"A", "B"} or shapes["A"][0] != shapes["B"][1]:
            raise AdapterError(f"{name} has no whole pair for {list_tensors([layer])}: a half is missing or misfits.")
    end = 0
    for _, offset, size in sorted(_ranges(path), key=lambda each: each[1:]):
        if offset != end:
            raise AdapterError(f"{name} has tensors that overlap, or leave gaps.")
        end = offset + size
    if _start(path) + end != path.stat().st_size:
        raise AdapterError(f"{name} holds more than its tensors.")


def check_numbers(path: Path, what: str = "adapter", largest: float | None = LARGEST) -> None:
    """Raise AdapterError where a number in a file is not finite, or larger than `largest` if that is given.

    Call the check of the file's kind first.
    """
    import numpy as np

    limit = np.inf if largest is None else np.nextafter(largest, np.inf)
    wrong = "not finite," if largest is None else "not finite, or far too large,"
    with path.open("rb") as file:
        start = _start(path)
        for name, (kind, offset, count) in _places(path).items():
            dtype = np.dtype(_DTYPES[kind])
            file.seek(start + offset)
            while count > 0:
                raw = np.frombuffer(file.read(min(count, _NUMBERS) * dtype.itemsize), dtype)
                values = (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw
                if not values.size or not bool((np.abs(values) < limit).all()):  # what is no number is not < either
                    raise AdapterError(f"The {what} {path.stem[:8]}… has numbers that are {wrong} in {name}.")
                count -= values.size


def metadata_of(path: Path) -> dict[str, str]:
    """Return the metadata in the header of a safetensors file. Raises AdapterError where they are no texts.

    Call `tensors_of` first: it says what is wrong with a header.
    """
    metadata = _header(path).get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise AdapterError(f"The adapter {path.stem[:8]}… has metadata that are no texts.")
    return metadata


def _start(path: Path) -> int:
    """Return where the numbers begin."""
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return cast(dict[str, Any], header)


def _ranges(path: Path) -> list[tuple[str, int, int]]:
    """Return the name of each tensor, where its bytes begin, and how many its header gives it."""
    entries = {name: entry for name, entry in _header(path).items() if name != "__metadata__"}
    offsets = {name: entry["data_offsets"] for name, entry in entries.items()}
    return [(name, int(begin), int(end) - int(begin)) for name, (begin, end) in offsets.items()]


def _places(path: Path) -> dict[str, tuple[str, int, int]]:
    """Return kind, offset and count of the numbers of each tensor, by its name."""
    entries = {name: entry for name, entry in _header(path).items() if name != "__metadata__"}
    return {
        name: (str(entry["dtype"]), int(entry["data_offsets"][0]), prod(entry["shape"]))
        for name, entry in entries.items()
    }
