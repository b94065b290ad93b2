"""Two adapters compared: the same, a little apart, and of different layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from generation.feedback.tensor_files import write_tensors
from generation.feedback.tuning.comparison import difference_of
from generation.models.weights import WeightsError


def adapter(path: Path, *numbers: float, name: str = "a") -> Path:
    write_tensors(path, {name: np.array(numbers, np.float32)})
    return path


def test_the_difference_is_a_share_of_the_released_adapter(tmp_path: Path) -> None:
    """One number of two changed: 0.5 of a length of 5."""
    released = adapter(tmp_path / "released", 3, 4)
    difference = difference_of(adapter(tmp_path / "ours", 3, 4.5), released)
    assert difference.share == pytest.approx(0.1)
    assert difference.largest == pytest.approx(0.5)
    assert difference.sentence.startswith("They differ by 10.00% of the released adapter's length")


def test_no_difference_is_said_as_well(tmp_path: Path) -> None:
    """Only the headers of the files may differ then."""
    released = adapter(tmp_path / "released", 3, 4)
    assert "Every number is the same" in difference_of(adapter(tmp_path / "ours", 3, 4), released).sentence


@pytest.mark.parametrize(("numbers", "name"), [((3, 4, 5), "a"), ((3, 4), "b")])
def test_adapters_of_other_layers_have_no_distance(numbers: tuple[float, ...], name: str, tmp_path: Path) -> None:
    """Neither of another shape nor of another name; and a file that is no adapter is an error."""
    released = adapter(tmp_path / "released", 3, 4)
    assert "different models or ranks" in difference_of(adapter(tmp_path / "x", *numbers, name=name), released).sentence
    (tmp_path / "none").write_bytes(b"no adapter")
    with pytest.raises(WeightsError):
        difference_of(tmp_path / "none", released)
