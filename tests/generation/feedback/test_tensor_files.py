"""Safetensors files: the same bytes for the same numbers, and nothing believed of a damaged one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from generation.feedback.tensor_files import bytes_of, read_tensors, write_tensors
from generation.models.weights import WeightsError

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1.5, -2.0], np.float16),
    "c": np.array(7, np.int64),
}


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    """Names, shapes, numbers and metadata; and the order of the arguments changes no byte."""
    from safetensors import safe_open

    path = tmp_path / "a.safetensors"
    sha256 = write_tensors(path, ARRAYS, {"z": "1", "y": "2"})
    assert write_tensors(tmp_path / "b.safetensors", dict(reversed(ARRAYS.items())), {"y": "2", "z": "1"}) == sha256
    with safe_open(path, "np") as file:
        assert file.metadata() == {"y": "2", "z": "1"}
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
    arrays, metadata = read_tensors(path)
    assert metadata == {"y": "2", "z": "1"}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_other_numbers_have_another_hash(tmp_path: Path) -> None:
    """One bit is enough."""
    first = write_tensors(tmp_path / "a.safetensors", {"a": np.zeros(3, np.float32)})
    assert write_tensors(tmp_path / "b.safetensors", {"a": np.array([0, 0, -0.0], np.float32)}) != first


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    """As other programs write it."""
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    save_file({"a": torch.tensor([1.0, -0.5, 3.0], dtype=torch.bfloat16)}, path)
    assert read_tensors(path)[0]["a"].tolist() == [1.0, -0.5, 3.0]


def header(entries: dict[str, object], body: bytes) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04K\x01.",  # a pickle
        bytes_of(ARRAYS)[:-1],
        bytes_of(ARRAYS) + b"more",
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        header({"a": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        header(
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            },
            b"1234",
        ),
        header({"__metadata__": {"a": 1}}, b""),
        struct.pack("<Q", 1 << 40) + b"{}",
    ],
)
def test_a_damaged_file_is_a_sentence(data: bytes, tmp_path: Path) -> None:
    """Cut off, too long, overlapping, of unknown kinds: none is read."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"a\.safetensors is no safetensors file"):
        read_tensors(path)
