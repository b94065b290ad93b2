"""An adapter's file (LoRA, safetensors), named by its SHA-256, and what it must be before anything loads it.

Imports no torch; numpy is needed only by the check of the numbers themselves.
"""

from __future__ import annotations

import re
from pathlib import Path

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
# Bits of the exponent, which are all ones in what is no finite number.
_EXPONENTS = {"F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
_EXPONENTS |= {"F64": ("<u8", 0x7FF0000000000000)}  # of taste scorers


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
        tensors = tensors_of(path)
    except OSError as error:
        raise AdapterError(f"{name} cannot be read ({error.strerror}).") from error
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


def check_numbers(path: Path, what: str = "adapter") -> None:
    """Raise AdapterError where a number in a file is infinite or none. Call the check of its kind first."""
    import numpy as np

    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        for name, (kind, offset, count) in _places(path).items():
            dtype, exponent = _EXPONENTS[kind]
            file.seek(start + offset)
            while count > 0:
                bits = np.frombuffer(file.read(min(count, _NUMBERS) * np.dtype(dtype).itemsize), dtype)
                if not bits.size or bool(((bits & exponent) == exponent).any()):
                    raise AdapterError(f"The {what} {path.stem[:8]}… has numbers that are not finite, in {name}.")
                count -= bits.size


def _places(path: Path) -> dict[str, tuple[str, int, int]]:
    """Return kind, offset and count of the numbers of each tensor, by its name."""
    import json
    from math import prod

    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    return {
        name: (str(entry["dtype"]), int(entry["data_offsets"][0]), prod(entry["shape"]))
        for name, entry in entries.items()
    }
