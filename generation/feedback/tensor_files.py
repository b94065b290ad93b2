"""Safetensors files with the same bytes each time, written whole or not at all. Numpy alone.

The library's own writer does not promise an order of the header's metadata; the hash of an adapter is its name here.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.feedback.whole_files import write_whole
from generation.models.weights import LONGEST_HEADER, WeightsError

Array = NDArray[Any]
# The kinds of the format that are written and read here. BF16 is no type of numpy's: its two bytes are read.
KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "BOOL": "|b1"}


def bytes_of(arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a safetensors file: names, metadata and data in alphabetical order."""
    names = {np.dtype(kind): name for name, kind in KINDS.items() if name != "BF16"}
    header: dict[str, object] = {"__metadata__": dict(sorted((metadata or {}).items()))} if metadata else {}
    parts, end = [], 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(arrays[name].shape),
            "data_offsets": [end, end + len(data)],
        }
        parts.append(data)
        end += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def write_tensors(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> str:
    """Write a safetensors file as a draft that is then renamed; return its SHA-256, 64 hex digits."""
    data = bytes_of(arrays, metadata)
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays and the metadata of a file, of which nothing is trusted.

    BF16 comes as float32. Raises WeightsError where the file is none, OSError where it cannot be read.
    """
    data = path.read_bytes()
    try:
        (length,) = struct.unpack("<Q", data[:8])
        if length > min(LONGEST_HEADER, len(data) - 8):
            raise ValueError("The header is longer than the file.")
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("The metadata are no texts.")
        body = data[8 + length :]
        arrays, covered = {}, []
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            covered.append((begin, end))
            raw = np.frombuffer(body[begin:end], KINDS[entry["dtype"]])
            arrays[name] = _widened(raw, entry["dtype"]).reshape(entry["shape"])
        place = 0
        for begin, end in sorted(covered):  # without gaps or overlaps, as the format has it
            if begin != place or end < begin:
                raise ValueError("Tensors overlap, or leave gaps.")
            place = end
        if place != len(body):
            raise ValueError("The file holds more than its tensors.")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise WeightsError(f"{path.name} is no safetensors file, or is damaged. Make it again.") from error
    return arrays, metadata


def _widened(raw: Array, kind: str) -> Array:
    if kind != "BF16":
        return raw
    return (raw.astype(np.uint32) << 16).view(np.float32)
