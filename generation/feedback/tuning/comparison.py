"""Two adapters compared number by number: how far a repetition on other hardware is from the release. Numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from generation.feedback.tensor_files import read_tensors


@dataclass(frozen=True)
class Difference:
    """The distance between two adapters of the same layers; None where their layers or shapes are not the same."""

    share: float | None  # the length of the difference, as a share of the released adapter's length
    largest: float | None  # the largest difference of a single number

    @property
    def sentence(self) -> str:
        """Return the difference in words."""
        if self.share is None or self.largest is None:
            return "Their layers are not the same, so they are adapters of different models or ranks."
        if self.largest == 0:
            return "Every number is the same; only the headers of the files differ."
        return (
            f"They differ by {self.share:.2%} of the released adapter's length, a single number by {self.largest:.2g}."
        )


def difference_of(path: Path, released: Path) -> Difference:
    """Return how much an adapter differs from the released one. Raises WeightsError and OSError."""
    ours, theirs = read_tensors(path)[0], read_tensors(released)[0]
    if {name: array.shape for name, array in ours.items()} != {name: array.shape for name, array in theirs.items()}:
        return Difference(None, None)
    squares, length, largest = 0.0, 0.0, 0.0
    for name, array in theirs.items():
        other = np.asarray(array, np.float64)
        gap = np.asarray(ours[name], np.float64) - other
        squares += float((gap**2).sum())
        length += float((other**2).sum())
        largest = max(largest, float(np.abs(gap).max(initial=0.0)))
    return Difference(float(np.sqrt(squares / length)) if length else float(squares > 0), largest)
