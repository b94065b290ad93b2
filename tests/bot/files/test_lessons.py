"""A candidate is checked whole before anything renders with it: by its own file, and by the model's layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.files.lessons import Lessons
from generation.feedback.tensor_files import bytes_of, write_tensors
from tests.builders.adapters import write_adapter

LAYERS = [f"attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")]
LAYERS += ["ffn.net.0.proj", "ffn.net.2"]


def adapter(inner: int = 4, number: float = 0.1) -> bytes:
    halves = {}
    for layer in LAYERS:
        halves[f"transformer.blocks.0.{layer}.lora_A.weight"] = np.full((2, inner), number, np.float32)
        halves[f"transformer.blocks.0.{layer}.lora_B.weight"] = np.full((6, 2), number, np.float32)
    return bytes_of(halves)


def keep_model(data_dir: Path) -> None:
    """One block of Wan where the bot looks for the embedded model."""
    folder = data_dir / "models" / "tiny"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    weights = {f"blocks.0.{layer}.weight": np.zeros((6, 4), np.float32) for layer in LAYERS}
    write_tensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", weights)


@pytest.mark.parametrize("has_model", [True, False])
async def test_a_sound_candidate_is_taken_in(database: AsyncEngine, tmp_path: Path, has_model: bool) -> None:
    """With the model's files on this machine and without them; one of another shape only where nobody can tell."""
    data_dir = tmp_path / "data"
    if has_model:
        keep_model(data_dir)
    lessons = Lessons(database=database, data_dir=data_dir, models_file=None, pepper=b"p")
    _, sha256 = write_adapter(data_dir, adapter())
    assert await lessons.take_in(sha256, "tiny") is None
    _, misfit = write_adapter(data_dir, adapter(inner=5))
    reason = await lessons.take_in(misfit, "tiny")
    assert (reason is not None and "does not fit the model's layer" in reason) == has_model


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (adapter(number=float("nan")), "not finite"),
        (adapter(number=1e6), "far too large"),
        (bytes_of({"transformer.a.weight": np.zeros((2, 2), np.float32)}), "is not here"),  # not even brought here
    ],
)
async def test_an_unsound_candidate_is_turned_down(
    database: AsyncEngine, tmp_path: Path, data: bytes, words: str
) -> None:
    """With a sentence, whether or not the model is here."""
    lessons = Lessons(database=database, data_dir=tmp_path / "data", models_file=None, pepper=b"p")
    _, sha256 = write_adapter(tmp_path / "data", data)
    reason = await lessons.take_in(sha256, "tiny")
    assert reason is not None
    assert words in reason
