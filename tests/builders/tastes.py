"""Taste scorers that like one thing alone, which a test can measure: the mean of one channel of the latents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from generation.adapters.taste import trained_taste_path
from generation.feedback.scoring.reward import RewardModel
from generation.feedback.scoring.taste import Taste, save_taste
from migrations.files import sha256_file


def features_of(model: Path) -> int:
    """The number of features of a pipeline's videos: four a channel, two for each of a block's outputs."""
    config = json.loads((model / "transformer" / "config.json").read_text())
    return int(4 * config["in_channels"] + 2 * config["num_attention_heads"] * config["attention_head_dim"])


def a_taste(model: str, features: int, *, gain: float = 1.0, liking: float = 1.0) -> Taste:
    """A taste for a high mean of the first channel; a gain of 0 says that it is no better than chance."""
    basis = np.zeros((features, 1))
    basis[0, 0] = 1.0
    arrays = {"mean": np.zeros(features), "spread": np.ones(features), "basis": basis, "weights": np.array([liking])}
    numbers = {"bias": 0.0, "ridge": 1.0, "gain": gain, "hits": 0.9, "votes": 100.0}
    return Taste(RewardModel.of(arrays, numbers), model)


def write_taste(path: Path, taste: Taste) -> str:
    """The taste as a file; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_taste(taste, path)


def leave_taste(data_dir: Path, adapter_sha256: str, *, liking: float = 1.0) -> str:
    """A taste beside an adapter, as a training left it; its SHA-256."""
    path = trained_taste_path(data_dir, adapter_sha256)
    write_taste(path, a_taste("tiny@r1", 4, liking=liking))
    return sha256_file(path)
