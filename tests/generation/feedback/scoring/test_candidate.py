"""A candidate before it renders: whatever a training that is not trusted may have written, it is rejected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.feedback.scoring.candidate import CandidateError, check_candidate, shapes_of
from generation.feedback.tensor_files import write_tensors

LAYERS = [f"attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")]
LAYERS += ["ffn.net.0.proj", "ffn.net.2"]
Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as its folder describes it: one block of Wan."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "transformer").mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    arrays = {f"blocks.0.{layer}.weight": np.zeros((6, 4), np.float32) for layer in LAYERS}
    arrays |= {f"blocks.0.{layer}.bias": np.zeros(6, np.float32) for layer in LAYERS}
    arrays["proj_out.weight"] = np.zeros((4, 4), np.float32)
    write_tensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", arrays)
    return folder


def adapter(rank: int = 2) -> Arrays:
    out: Arrays = {}
    for layer in LAYERS:
        out[f"transformer.blocks.0.{layer}.lora_A.weight"] = np.full((rank, 4), 0.1, np.float32)
        out[f"transformer.blocks.0.{layer}.lora_B.weight"] = np.full((6, rank), 0.1, np.float32)
    return out


def metadata(rank: int = 2, **more: object) -> dict[str, str]:
    said = {"transformer.r": rank, "transformer.lora_alpha": rank, "transformer.target_modules": LAYERS, **more}
    return {"format": "pt", "lora_adapter_metadata": json.dumps(said)}


FIRST = "transformer.blocks.0.attn1.to_q.lora_A.weight"


def test_a_candidate_of_tuning_passes(model: Path, tmp_path: Path) -> None:
    """Its rank is returned; the shapes are those of the model's own files."""
    shapes = shapes_of(model)
    assert len(shapes) == 10
    assert shapes["transformer.blocks.0.ffn.net.2"] == (6, 4)
    path = tmp_path / "a.safetensors"
    assert check_candidate(path, write_tensors(path, adapter(), metadata()), shapes) == 2
    assert check_candidate(path, write_tensors(path, adapter(3)), shapes) == 3


def changed(**arrays: Any) -> Callable[[], tuple[Arrays, dict[str, str]]]:
    return lambda: ({**adapter(), FIRST: arrays["first"]}, metadata())


BAD: dict[str, tuple[Callable[[], tuple[Arrays, dict[str, str]]], str]] = {
    "a layer that is left as it is": (
        lambda: ({**adapter(), "transformer.proj_out.lora_A.weight": np.zeros((2, 4), np.float32)}, metadata()),
        "which tuning leaves as it is",
    ),
    "a whole weight": (
        lambda: ({**adapter(), "transformer.blocks.0.attn1.to_q.weight": np.zeros((6, 4), np.float32)}, metadata()),
        "which tuning leaves as it is",
    ),
    "another component": (
        lambda: ({**adapter(), "text_encoder.x.lora_A.weight": np.zeros((2, 4), np.float32)}, metadata()),
        "which tuning leaves as it is",
    ),
    "another shape": (changed(first=np.zeros((2, 5), np.float32)), "does not fit"),
    "no matrix": (changed(first=np.zeros(8, np.float32)), "does not fit"),
    "not finite": (changed(first=np.full((2, 4), np.nan, np.float32)), "not finite"),
    "far too large": (changed(first=np.full((2, 4), 1e6, np.float32)), "not finite, or far too large"),
    "whole numbers": (changed(first=np.zeros((2, 4), np.int64)), "no floating-point numbers"),
    "mixed ranks": (
        lambda: ({**adapter(), **{key: value for key, value in adapter(1).items() if ".ffn." in key}}, metadata()),
        "ranks",
    ),
    "a missing layer": (
        lambda: ({key: value for key, value in adapter().items() if ".net.2." not in key}, metadata()),
        "lacks 1 of 10 layers",
    ),
    "half a layer": (
        lambda: ({key: value for key, value in adapter().items() if key != FIRST}, metadata()),
        "one half",
    ),
    "another strength": (lambda: (adapter(), metadata(**{"transformer.lora_alpha": 64})), "another strength"),
    "another kind": (lambda: (adapter(), metadata(**{"transformer.use_dora": True})), "another strength or kind"),
    "metadata that are none": (lambda: (adapter(), {"lora_adapter_metadata": "[1"}), "cannot be read"),
    "strange metadata": (lambda: (adapter(), {**metadata(), "url": "https://"}), "which no adapter needs"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_candidate_with_a_fault_is_rejected(fault: str, model: Path, tmp_path: Path) -> None:
    """The sentence says which fault."""
    made, words = BAD[fault]
    path = tmp_path / "a.safetensors"
    arrays, header = made()
    sha256 = write_tensors(path, arrays, header)
    with pytest.raises(CandidateError, match=words):
        check_candidate(path, sha256, shapes_of(model))


@pytest.mark.parametrize("fault", ["not finite", "another strength", "mixed ranks", "half a layer", "whole numbers"])
def test_without_the_model_all_else_is_checked(fault: str, tmp_path: Path) -> None:
    """A machine that lacks the model's files cannot tell whether layers fit; numbers may be left to others too."""
    path = tmp_path / "a.safetensors"
    assert check_candidate(path, write_tensors(path, adapter(3)), None) == 3
    made, words = BAD[fault]
    arrays, header = made()
    sha256 = write_tensors(path, arrays, header)
    with pytest.raises(CandidateError, match=words):
        check_candidate(path, sha256, None)
    if fault == "not finite":
        assert check_candidate(path, sha256, None, numbers=False) == 2


def test_a_component_that_is_never_tuned_is_rejected(tmp_path: Path) -> None:
    """With the model or without it."""
    path = tmp_path / "a.safetensors"
    halves = {"text_encoder.x.lora_A.weight": (2, 4), "text_encoder.x.lora_B.weight": (4, 2)}
    sha256 = write_tensors(path, {key: np.zeros(shape, np.float32) for key, shape in halves.items()})
    with pytest.raises(CandidateError, match="which tuning leaves as it is"):
        check_candidate(path, sha256, None)
    with pytest.raises(CandidateError, match="is empty"):
        check_candidate(path, write_tensors(path, {}), None)


def test_a_file_that_is_another_one_is_rejected(model: Path, tmp_path: Path) -> None:
    """Changed after it was announced, no safetensors, a link, far too large, or not there."""
    shapes, path = shapes_of(model), tmp_path / "a.safetensors"
    sha256 = write_tensors(path, adapter())
    for wrong, words in ((path.with_suffix(".bin"), "no safetensors file"), (tmp_path / "b.safetensors", "is no")):
        with pytest.raises(CandidateError, match=words):
            check_candidate(wrong, sha256, shapes)
    with pytest.raises(CandidateError, match="another file than its training announced"):
        check_candidate(path, "0" * 64, shapes)
    (tmp_path / "b.safetensors").symlink_to(path)
    with pytest.raises(CandidateError, match="no safetensors file"):
        check_candidate(tmp_path / "b.safetensors", sha256, shapes)
    path.write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(CandidateError, match="is no safetensors file"):
        check_candidate(path, hashlib.sha256(path.read_bytes()).hexdigest(), shapes)
    path.write_bytes(b"0" * 1_000_000)
    with pytest.raises(CandidateError, match="more than the"):
        check_candidate(path, hashlib.sha256(path.read_bytes()).hexdigest(), shapes)


def test_a_model_that_is_not_tuned_has_no_shapes(tmp_path: Path) -> None:
    """It is said."""
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "LattePipeline"}))
    with pytest.raises(CandidateError, match="no model that adapters are tuned for"):
        shapes_of(tmp_path)
