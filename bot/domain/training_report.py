"""A training as moderators read of it: what it learns from, how far it is, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingFacts:
    """The votes that a candidate learns from."""

    candidate_id: int
    votes: int
    videos: int
    rounds: int
    held_out: int  # videos whose prompts stay for battles
    left_out: int  # videos of another model or revision, or without a vote
    release: int | None = None  # that is gone on from; None: the model by itself


@dataclass(frozen=True)
class TrainingStep:
    """The progress of a training, as its worker writes it."""

    phase: str
    step: int
    steps: int
    eta_s: float | None
