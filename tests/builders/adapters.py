"""Adapters' files (LoRA), made without torch: names, shapes and numbers as a test wants them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

LAYER = "transformer.blocks.0.attn1.to_q"
PAIR = {f"{LAYER}.lora_A.weight": (2, 8), f"{LAYER}.lora_B.weight": (8, 2)}


def adapter_bytes(shapes: Mapping[str, tuple[int, ...]] = PAIR, *, kind: str = "F32", number: float = 0.5) -> bytes:
    """A safetensors file with tensors of these shapes, in which every number is the same."""
    header, data = {}, b""
    one = struct.pack("<f", number) if kind == "F32" else struct.pack("<f", number)[2:]  # BF16: the upper half
    for name, shape in shapes.items():
        count = 1
        for side in shape:
            count *= side
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + count * len(one)]}
        data += one * count
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def write_adapter(data_dir: Path, data: bytes) -> tuple[Path, str]:
    """The file in a data folder under its hash, and the hash."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = data_dir / "adapters" / f"{sha256}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path, sha256
