"""The recipe of a tuning: every number that the adapter depends on, beside the data and the model. No torch here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

METHODS = ("nft", "dpo", "kto", "sft")
PRECISIONS = ("no", "bf16")  # of the denoiser's activations, as accelerate names them


class RecipeError(ValueError):
    """A number of a recipe makes no sense; the message is a sentence."""


@dataclass(frozen=True)
class Recipe:
    """The numbers of a tuning. The defaults are what docs/learning.md gives figures for."""

    method: str = "nft"
    steps: int = 150
    batch: int = 16  # videos a step, over all processes; a pair counts as two
    rate: float = 6e-4  # of AdamW, at its highest
    warm_up: int = 10  # steps; over the second half the rate falls to 0
    rank: int = 8  # alpha is the same
    nft_beta: float = 0.05
    dpo_strength: float = 5.0
    kto_strength: float = 100.0
    best_share: float = 0.25  # of the videos, for sft
    tracked: float = 0.0  # the share of samples whose noise is the one that the video was made from
    drift_cap: float = 0.08  # against the base, whatever the adapter began from
    motion: float = 1.0  # how much of what speaks against motion is taken out of the scores; 0: nothing
    use_reward: bool = True  # scores of the voted videos from the reward model
    rounds: int = 0  # of fresh videos, labelled by the reward model where it cross-validates
    fresh_prompts: int = 20
    fresh_each: int = 8
    fresh_steps: int = 100
    fresh_beta: float = 0.1
    seed: int = 0
    precision: str = "no"
    checkpointing: bool = False  # gradients are computed anew in the backward pass: less memory, more time
    save_every: int = 25  # steps

    def __post_init__(self) -> None:
        """Raise RecipeError where a number makes no sense."""
        if self.method not in METHODS:
            raise RecipeError(f"{self.method!r} is no method; those are {', '.join(METHODS)}.")
        if self.precision not in PRECISIONS:
            raise RecipeError(f"{self.precision!r} is no precision; those are {', '.join(PRECISIONS)}.")
        whole = ("steps", "batch", "rank", "save_every", "fresh_prompts", "fresh_each", "fresh_steps")
        positive = (*whole, "rate", "nft_beta", "dpo_strength", "kto_strength", "drift_cap", "fresh_beta")
        if bad := [name for name in positive if not getattr(self, name) > 0]:
            raise RecipeError(f"{bad[0]} must be above 0.")
        if not (0 <= self.tracked <= 1 and 0 < self.best_share <= 1 and self.motion >= 0 and self.rounds >= 0):
            raise RecipeError("tracked and best_share are shares, motion and rounds at least 0.")
        if self.method == "dpo" and self.batch < 2:
            raise RecipeError("A batch of dpo holds at least one pair, which is 2 videos.")

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0: a short rise, a plateau, a linear fall."""
        return self.rate * min(1.0, (step + 1) / max(1, self.warm_up), 2 * (1 - step / steps))

    def identity(self, *others: str) -> str:
        """Return the SHA-256 of the recipe and of what else a tuning depends on."""
        return hashlib.sha256(json.dumps([asdict(self), *others], sort_keys=True).encode()).hexdigest()

    @classmethod
    def of(cls, values: dict[str, Any]) -> Recipe:
        """Return the recipe that was stored. Raises RecipeError where a name is none of a recipe's."""
        if strange := sorted(set(values) - {each.name for each in fields(cls)}):
            raise RecipeError(f"A recipe has no {strange[0]!r}.")
        return cls(**values)
