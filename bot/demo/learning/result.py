"""The result of a story that ends with the learning loop, as `flock demo --learn --json` prints it.

Its keys are an interface and never change.
"""

from __future__ import annotations

from typing import TypedDict

from bot.demo.result import StoryResult


class TrainingResult(TypedDict):
    """The training. `pairs` are those of videos in its data set; `drift` is the distance from the base model."""

    candidate: int | None
    votes: int
    videos: int
    pairs: int
    seconds: float
    drift: float
    guards: list[str]


class BattleResult(TypedDict):
    """The battle round by its verdict. Shares are from 0 to 1; `k` is how many voters the evidence must do without.

    `liked` is the share of pairs whose candidate the taste itself likes more, ties being halves.
    """

    round: int
    registration: str
    pairs: int
    voters: int
    votes: int
    held_out: int
    win_rate: float
    interval: list[float]
    equal_motion: float | None
    evidence: float
    evidence_needed: int
    k: int
    verdict: str
    sentence: str
    liked: float


class BeforeAfter(TypedDict):
    """A measure of the battle's videos: the live model's, and the candidate's."""

    before: float
    after: float


class ReleaseResult(TypedDict):
    """The release, its transaction, and the first video that was made with it."""

    number: int
    adapter: str
    tx: str | None
    video: str


class LearningResult(StoryResult):
    """The whole result. A part that did not come to pass is None; `refused` then says why there is no release."""

    taste: str
    voters: int
    votes: int
    noise: float
    hostile: int
    training: TrainingResult
    battle: BattleResult | None
    adherence: BeforeAfter | None
    motion: BeforeAfter | None
    release: ReleaseResult | None
    refused: str | None
