"""The order of a training, as one JSON file that the process which trains is given. No torch here.

The bot writes it, and starts `python -m generation.feedback ORDER.json`. That process has no keys and no database.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from generation.feedback.tuning.recipe import Recipe
from generation.feedback.whole_files import write_whole
from generation.models.registry import Model

FILE = "order.json"
RESULT, GUARDS, TASTE = "result.json", "guards.json", "taste.safetensors"


@dataclass(frozen=True)
class Order:
    """The data, the model, the recipe, and where the candidate goes."""

    data: str  # a folder with examples
    model: Model
    out: str
    recipe: Recipe = field(default_factory=Recipe)
    live: str | None = None  # the adapter's file of the release that is gone on from
    guard_videos: int = 8  # of each model, for the guards; 0: none are rendered
    handover: str | None = None  # the folder to write instead of training

    def write(self) -> Path:
        """Write the order into its own folder, and return its path."""
        folder = Path(self.out)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE, (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode())
        return folder / FILE

    @classmethod
    def of(cls, values: dict[str, Any]) -> Order:
        """Return the order of its JSON. Raises RecipeError, KeyError or TypeError where it is none."""
        parts = {**values, "model": Model.from_json(values["model"]), "recipe": Recipe.of(values["recipe"])}
        return cls(**parts)

    @classmethod
    def read(cls, path: Path) -> Order:
        """Return the order of a file. Raises ValueError where it is none, OSError."""
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} holds no order of a training.") from error
