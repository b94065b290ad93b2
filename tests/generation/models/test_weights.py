"""Files of weights are judged by their headers: cut off, not what they are named, or quantised beforehand."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from generation.models.weights import (
    Tensor,
    WeightsError,
    faults,
    files_of_part,
    list_tensors,
    scales_among,
    tensors_of,
)

SIZES = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "I8": 1}


def write(path: Path, tensors: dict[str, tuple[str, list[int]]], *, cut: int = 0) -> None:
    """A safetensors file with zeros for numbers, less `cut` bytes at its end."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in tensors.items():
        size = SIZES[kind] * int.__mul__(*shape, *[1] * (2 - len(shape)))
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(header).encode()
    data = struct.pack("<Q", len(head)) + head + bytes(end)
    path.write_bytes(data[: len(data) - cut])


def test_tensors_are_read_from_the_header(tmp_path: Path) -> None:
    """Names, kinds and shapes, and no number."""
    write(tmp_path / "a.safetensors", {"x": ("BF16", [2, 3]), "y": ("F32", [4])})
    assert tensors_of(tmp_path / "a.safetensors") == {"x": Tensor("BF16", (2, 3)), "y": Tensor("F32", (4,))}
    assert faults(tmp_path) == ([], [])


@pytest.mark.parametrize("cut", [1, 8, 20, 60, 200])
def test_a_file_that_is_cut_off_is_said(tmp_path: Path, cut: int) -> None:
    """Wherever the download broke off."""
    write(tmp_path / "a.safetensors", {"x": ("F32", [2, 3])}, cut=cut)
    with pytest.raises(WeightsError, match=r"a\.safetensors is .*cut off.* Download it again\."):
        tensors_of(tmp_path / "a.safetensors")
    [sentence], said = faults(tmp_path)
    assert "cut off" in sentence
    assert said == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of git-lfs, and not the file"),
        (b"<!doctype html><html>Sign in</html>", "is no safetensors file, or is cut off"),
        (b"", "is no safetensors file, or is cut off"),
        (struct.pack("<Q", 1 << 60), "is no safetensors file, or is cut off"),
        (struct.pack("<Q", 2) + b"[]", "is no safetensors file, or is cut off"),
        (struct.pack("<Q", 8) + b'{"x": 1}', "is no safetensors file, or is cut off"),
    ],
)
def test_a_file_that_is_something_else_is_said(tmp_path: Path, data: bytes, sentence: str) -> None:
    """A pointer, a page, nothing, or a header that promises what cannot be."""
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=sentence):
        tensors_of(tmp_path / "a.safetensors")


def test_an_index_is_held_to_what_it_names(tmp_path: Path) -> None:
    """Its files are those of the component; what it names and none of them holds is said."""
    index = {"weight_map": {"x": "m-1.safetensors", "y": "m-2.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    write(tmp_path / "m-1.safetensors", {"x": ("F32", [2])})
    write(tmp_path / "m-2.safetensors", {"y": ("F32", [2])})
    write(tmp_path / "other.safetensors", {"z": ("F32", [2])}, cut=3)
    assert files_of_part(tmp_path) == ["m-1.safetensors", "m-2.safetensors"]
    assert faults(tmp_path) == ([], [])
    write(tmp_path / "m-2.safetensors", {"z": ("F32", [2])})
    assert faults(tmp_path)[0][0].startswith("1 tensor (y) that its index names is in none of its files. Download")
    (tmp_path / "m-2.safetensors").unlink()
    assert faults(tmp_path) == ([], [])  # that a file is missing is told elsewhere


def test_only_the_files_that_are_loaded_are_judged(tmp_path: Path) -> None:
    """Other precisions beside them, and files of other names, are nobody's concern."""
    write(tmp_path / "diffusion_pytorch_model.safetensors", {"x": ("F32", [2])})
    for other in ("diffusion_pytorch_model.fp16.safetensors", "original.safetensors"):
        write(tmp_path / other, {"x": ("F32", [2])}, cut=3)
    assert faults(tmp_path) == ([], [])
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    assert files_of_part(tmp_path) == ["original.safetensors"]
    assert "original.safetensors is cut off" in faults(tmp_path)[0][0]


# What ComfyUI, transformers, DeepSeek, NVFP4, bitsandbytes, GPTQ and nunchaku write beside weights.
SCALES = [
    *("scale_weight", "weight_scale", "scale_input", "input_scale", "weight_scale_inv", "weight_scale_2", "wscales"),
    *("weight.absmax", "weight.quant_map", "weight.quant_state.bitsandbytes__nf4", "SCB", "qweight", "comfy_quant"),
]


@pytest.mark.parametrize("scale", SCALES)
def test_files_that_were_quantised_beforehand_are_told_by_their_scales(tmp_path: Path, scale: str) -> None:
    """Unless a config says how to read them: then a library applies what they hold."""
    name = f"blocks.0.attn1.to_q.{scale}"
    write(tmp_path / "a.safetensors", {"blocks.0.attn1.to_q.weight": ("BF16", [2, 2]), name: ("F32", [1])})
    [sentence], _ = faults(tmp_path)
    assert name in sentence
    assert "fp8-scaled files" in sentence
    assert "Take its files in bfloat16 or float16" in sentence
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "bitsandbytes"}}')
    assert faults(tmp_path) == ([], [])


def test_a_marker_alone_tells_it(tmp_path: Path) -> None:
    """ComfyUI's, at the top of the file."""
    write(tmp_path / "a.safetensors", {"x.weight": ("F8_E4M3", [2, 2]), "scaled_fp8": ("F8_E4M3", [2])})
    assert "scaled_fp8" in faults(tmp_path)[0][0]


@pytest.mark.parametrize(
    "name", ["scale_shift_table", "logit_scale", "norm.scale", "blocks.0.layer_scale", "upscale.weight", "to_v.weight"]
)
def test_weights_whose_names_only_sound_alike_are_none(name: str) -> None:
    """Such as many models have."""
    assert scales_among([name]) == []


def test_float8_without_scales_is_said_and_whole_numbers_are_refused(tmp_path: Path) -> None:
    """The ones are numbers that were rounded; the others mean nothing by themselves."""
    write(tmp_path / "a.safetensors", {"x.weight": ("F8_E4M3", [2, 2]), "y.weight": ("BF16", [2, 2])})
    wrong, [note] = faults(tmp_path)
    assert wrong == []
    assert note.startswith("1 of its tensors are float8, without scales")
    write(tmp_path / "a.safetensors", {"x.weight": ("I8", [2, 2]), "mask": ("I8", [2, 2]), "y.weight": ("I8", [4])})
    [sentence], _ = faults(tmp_path)
    assert sentence.startswith("1 tensor (x.weight) of its weights is a whole number of 8 bits")


def test_three_names_are_told_and_the_number_of_all() -> None:
    """In order."""
    assert list_tensors("cab") == "3 tensors (a, b, c)"
    assert list_tensors("dcab") == "4 tensors (a, b, c, …)"
    assert list_tensors("a") == "1 tensor (a)"
