"""A taste's file is looked at before anything scores with it: hash, names, shapes, numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.adapters import taste
from generation.adapters.file import AdapterError
from generation.adapters.taste import check_taste, taste_path, trained_taste_path
from generation.feedback.tensor_files import write_tensors
from migrations.files import sha256_file
from tests.builders.tastes import a_taste, write_taste

WHOLE = a_taste("tiny@r1", 6).liking.arrays()


def test_what_a_training_writes_passes(tmp_path: Path) -> None:
    """Under its own hash at workers that render, under its adapter's elsewhere."""
    path = tmp_path / "taste.safetensors"
    check_taste(path, write_taste(path, a_taste("tiny@r1", 6)))
    assert taste_path(tmp_path, "a" * 64) != trained_taste_path(tmp_path, "a" * 64)
    for name in ("../x", "A" * 64, ""):
        for of in (taste_path, trained_taste_path):
            with pytest.raises(ValueError, match="64 hexadecimal digits"):
                of(tmp_path, name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"basis": None}, "has no components"),
        ({"basis": np.zeros((6, 0))}, "is empty"),
        ({"mean": np.zeros(5)}, "other names, kinds or shapes"),
        ({"weights": np.zeros((1, 1))}, "other names, kinds or shapes"),
        ({"spread": np.ones(6, np.float32)}, "other names, kinds or shapes"),
        ({"bias": np.zeros(1)}, "other names, kinds or shapes"),
        ({"mean": np.array([0, 1, np.inf, 0, 0, 0])}, "not finite, in mean"),
        ({"weights": np.array([np.nan])}, "not finite, in weights"),
    ],
)
def test_anything_else_is_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = tmp_path / "taste.safetensors"
    sha256 = write_tensors(path, {name: each for name, each in {**WHOLE, **changes}.items() if each is not None})
    with pytest.raises(AdapterError, match=says):
        check_taste(path, sha256)


def test_other_bytes_and_other_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that is another's, a pickled file, one that is cut off, one that is too large, none at all."""
    path = tmp_path / "taste.safetensors"
    sha256 = write_taste(path, a_taste("tiny@r1", 6))
    with pytest.raises(AdapterError, match="another hash than it is named by"):
        check_taste(path, "0" * 64)
    whole = path.read_bytes()
    for data in (b"\x80\x04pickled", whole[:-4]):
        path.write_bytes(data)
        with pytest.raises(AdapterError, match="cannot be used"):
            check_taste(path, sha256_file(path))
    path.write_bytes(whole)
    check_taste(path, sha256)
    with monkeypatch.context() as patch:
        patch.setattr(taste, "MOST_BYTES", len(whole) - 1)
        with pytest.raises(AdapterError, match="no taste has more"):
            check_taste(path, sha256)
    path.unlink()
    with pytest.raises(AdapterError, match="cannot be read"):
        check_taste(path, sha256)
