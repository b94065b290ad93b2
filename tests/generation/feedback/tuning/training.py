"""A small training: a few random videos of a family's tiny pipeline, and the order to tune on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generation.feedback.tuning.examples import Example, write_examples
from generation.models.registry import Model
from tests.generation.families.built import build

LOOKS = {"width": 32, "height": 32, "frames": 9, "steps": 3}
EXAMPLES = [
    Example(f"v{k}", ("a red circle", "a cat")[k % 2], k, up=2.0 * (k % 3 == 0), down=1.0 * (k % 3 != 0))
    for k in range(6)
]


def model(name: str, folder: Path, **more: Any) -> Model:
    """The family's tiny pipeline as a model."""
    return Model("m", str(build(name, folder)), revision="r", overrides=LOOKS, **more)


def data(folder: Path) -> Path:
    """A data set whose latents were not kept: they are rendered again."""
    write_examples(folder, EXAMPLES)
    return folder
