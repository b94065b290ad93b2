"""The size of a story that ends with the learning loop: how many members ask, vote and compare, and what they like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.demo.discord.world import CROWD
from bot.domain.errors import OperatorError
from generation.feedback.community.tastes import TASTES, Taste
from generation.feedback.community.voters import HOSTILE, NOISE
from generation.models.registry import TINY

DEFAULT_TASTE = "warm"
SENTENCES = {
    "warm": "warm colours",
    "large": "large shapes",
    "dark": "dark backgrounds",
    "upright": "things that move up and down",
    "quick": "quick motions",
    "heart": "hearts and stars",
    "coins": "nothing in particular: they throw coins",
}


@dataclass(frozen=True)
class LearningPlan:
    """A scripted community. Its taste is known to its voters alone: no part of FLock that learns reads it."""

    taste_name: str = DEFAULT_TASTE
    voters: int = 80
    prompts: int = 24
    videos_a_prompt: int = 4  # votes say more about videos of one prompt than about videos of several
    votes_a_video: int = 3
    pairs: int = 100  # of the battle round: the fewest that the release rule takes
    noise: float = NOISE
    hostile: float = HOSTILE
    seed: int = 1

    def __post_init__(self) -> None:
        if self.taste_name not in TASTES:
            raise OperatorError(f"There is no taste {self.taste_name!r}; those are {', '.join(TASTES)}.")
        if not 1 <= self.voters <= len(CROWD):
            raise OperatorError(f"Between 1 and {len(CROWD)} members vote in this community.")

    def settings_in(self, state: Path) -> Mapping[str, str]:
        """Return the settings of bot and workers, and write the file that they name.

        Pictures are half as large as usual, since hundreds of videos are encoded; what the model paints is the same.
        Messages that tell of a queue's progress are in no hurry. One thread renders or trains, since the bot and the
        services need a core as well: two threads that share it mostly wait for each other.
        """
        models = state / "models.toml"
        models.write_text(f"[models.{TINY}]\nupscale = 3\n", encoding="utf-8")
        return {"FLOCK_PROGRESS_S": "15", "FLOCK_MODELS_FILE": str(models), "OMP_NUM_THREADS": "1"}

    @property
    def taste(self) -> Taste:
        return TASTES[self.taste_name]

    @property
    def likes(self) -> str:
        """The community's taste in words."""
        return SENTENCES[self.taste_name]
