"""An adapter's file is looked at before anything loads it: hash, names, shapes, numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.adapters.file import AdapterError, adapter_path, check_adapter, check_numbers
from tests.builders.adapters import LAYER, PAIR, adapter_bytes, write_adapter


@pytest.mark.parametrize("kind", ["F32", "BF16"])
def test_whole_pairs_of_finite_numbers_pass(tmp_path: Path, kind: str) -> None:
    path, sha256 = write_adapter(tmp_path, adapter_bytes(kind=kind))
    assert path == adapter_path(tmp_path, sha256)
    check_adapter(path, sha256)
    check_numbers(path)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({}, "is empty"),
        ({f"{LAYER}.lora_A.weight": (2, 8)}, "no whole pair"),
        ({**PAIR, f"{LAYER}.lora_B.weight": (8, 4)}, "no whole pair"),
        ({**PAIR, f"{LAYER}.weight": (8, 8)}, "no half of a LoRA pair"),
        ({"text_encoder.q.lora_A.weight": (2, 8), "text_encoder.q.lora_B.weight": (8, 2)}, "no half"),
        ({f"{LAYER}.lora_A.weight": (2,), f"{LAYER}.lora_B.weight": (8, 2)}, "no half"),
    ],
)
def test_anything_else_is_named(tmp_path: Path, shapes: dict[str, tuple[int, ...]], says: str) -> None:
    path, sha256 = write_adapter(tmp_path, adapter_bytes(shapes))
    with pytest.raises(AdapterError, match=says):
        check_adapter(path, sha256)


def test_other_bytes_and_other_files_are_named(tmp_path: Path) -> None:
    """A hash that is another's, a pickled file, one that is cut off, none at all."""
    path, sha256 = write_adapter(tmp_path, adapter_bytes())
    with pytest.raises(AdapterError, match="another hash than its release names"):
        check_adapter(path, "0" * 64)
    for data in (b"\x80\x04pickled", adapter_bytes()[:-4]):
        odd, its_hash = write_adapter(tmp_path, data)
        with pytest.raises(AdapterError, match="cannot be used"):
            check_adapter(odd, its_hash)
    path.unlink()
    with pytest.raises(AdapterError, match="cannot be read"):
        check_adapter(path, sha256)
    for name in ("../x", "A" * 64, ""):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            adapter_path(tmp_path, name)


def test_bytes_beside_the_tensors_are_named(tmp_path: Path) -> None:
    """Nothing may travel in an adapter's file but its numbers: after them, between them, or twice."""
    path, sha256 = write_adapter(tmp_path, adapter_bytes() + b"more")
    with pytest.raises(AdapterError, match="holds more than its tensors"):
        check_adapter(path, sha256)
    twice = adapter_bytes().replace(b"[64, 128]", b"[0, 64]  ")
    assert twice != adapter_bytes()
    path, sha256 = write_adapter(tmp_path, twice)
    with pytest.raises(AdapterError, match="overlap, or leave gaps"):
        check_adapter(path, sha256)


@pytest.mark.parametrize("kind", ["F32", "BF16"])
@pytest.mark.parametrize("number", [float("inf"), float("nan"), -1e6])
def test_numbers_that_are_not_finite_are_named(tmp_path: Path, kind: str, number: float) -> None:
    path, _ = write_adapter(tmp_path, adapter_bytes(kind=kind, number=number))
    with pytest.raises(AdapterError, match="not finite"):
        check_numbers(path)
