"""The examples that tuning reads, from the rows of a data set: its training split, and videos of one model alone.

Held-out prompts stay out, for battles. pyarrow is needed to read the rows; no torch here.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from generation.feedback.dataset.files import rows_of
from generation.feedback.tuning.examples import Example

LEAST_VOTES, LEAST_VIDEOS = 20, 4  # fewer say nothing that holds on a prompt which nobody has voted on
DIGITS = 6  # of a weighted vote

Row = Mapping[str, object]


class TooFewVotesError(ValueError):
    """The votes of a data set are too few to learn from; str() is a sentence for moderators."""


@dataclass(frozen=True)
class Lesson:
    """All that a training learns from: examples of one revision of a model, with the votes and rounds behind them."""

    examples: list[Example]
    revision: str  # of the model that rendered them, without any release
    votes: int
    rounds: int
    held_out: int  # videos of the test split
    left_out: int  # videos of the training split with another model or revision, or without a vote


def lesson_of(folder: Path, model_id: str) -> Lesson:
    """Return what a data set teaches a model, by votes that are weighted by the reliability of their voters.

    Of several revisions of the model only the one with the most videos counts: adapters and latents of one do not fit
    another. Raises TooFewVotesError.
    """
    rows = list(rows_of(folder, "videos"))
    of_model = [row for row in rows if row["model"] == model_id and row["model_revision"]]
    revisions = Counter(str(row["model_revision"]) for row in of_model)
    revision = min(revisions, key=lambda name: (-revisions[name], name)) if revisions else ""
    chosen = [row for row in of_model if row["model_revision"] == revision and _votes(row)]
    votes = sum(map(_votes, chosen))
    _require_enough(votes, chosen)
    weights = weights_of(rows_of(folder, "voters"), {str(row["video"]) for row in chosen}, rows_of(folder, "votes"))
    examples = [example_of(row, weights.get(str(row["video"]))) for row in chosen]
    return Lesson(
        sorted(examples, key=lambda each: each.video),
        revision,
        votes,
        rounds=len({row["round"] for row in chosen}),
        held_out=sum(1 for _ in rows_of(folder, "videos", "test")),
        left_out=len(rows) - len(chosen),
    )


def _require_enough(votes: int, chosen: Sequence[Row]) -> None:
    if votes < LEAST_VOTES or len(chosen) < LEAST_VIDEOS:
        raise TooFewVotesError(
            f"There are {votes} votes on {len(chosen)} videos to learn from, and at least {LEAST_VOTES} votes on "
            f"{LEAST_VIDEOS} videos are needed. Held-out prompts, and members who opted out, do not count."
        )
    if not (any(row["up"] for row in chosen) and any(row["down"] for row in chosen)):
        raise TooFewVotesError("All votes are alike, so they do not say which videos are better than others.")


def example_of(row: Row, weighted: tuple[float, float] | None = None) -> Example:
    """Return the example of a row of the table `videos`; `weighted` are votes up and down in place of plain ones."""
    up, down = weighted if weighted is not None else (float(cast(int, row["up"])), float(cast(int, row["down"])))
    release = release_of(row)
    latents = row["latents_sha256"]
    return Example(
        video=str(row["video"]).removeprefix("0x"),
        prompt=str(row["prompt"]),
        seed=int(cast(int, row["seed"])),
        up=round(up, DIGITS),
        down=round(down, DIGITS),
        latents_sha256=None if latents is None else str(latents),
        prompt_id=str(row["prompt_id"]),
        release=None if release is None else release[1],
        release_number=None if release is None else release[0],
    )


def release_of(row: Row) -> tuple[int, str] | None:
    """Return the release that rendered a video, as its card has it: number, and SHA-256 of the adapter; or None."""
    card = json.loads(str(row["card"])) if row["card"] is not None else {}
    release = card.get("model", {}).get("release")
    return None if release is None else (int(release["number"]), str(release["adapter_sha256"]))


def weights_of(voters: Iterable[Row], videos: set[str], votes: Iterable[Row]) -> dict[str, tuple[float, float]]:
    """Return votes up and down of each video, each weighted by its voter's reliability (0 if negative).

    The mean weight is 1, so that the sum over all of these videos is the number of their votes. Where nobody is
    reliable, as among voters with few votes each, every vote counts the same.
    """
    reliability = {str(row["voter"]): max(0.0, float(cast(float, row["reliability"]))) for row in voters}
    cast_votes = [row for row in votes if row["choice"] is not None and str(row["video"]) in videos]
    whole = sum(reliability.get(str(row["voter"]), 0.0) for row in cast_votes)
    counts: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in cast_votes:
        weight = len(cast_votes) * reliability.get(str(row["voter"]), 0.0) / whole if whole else 1.0
        counts[str(row["video"])][row["choice"] == "down"] += weight
    return {video: (up, down) for video, (up, down) in counts.items()}


def _votes(row: Row) -> int:
    return int(cast(int, row["up"])) + int(cast(int, row["down"]))
