"""The score of a video: its share of ups, shrunk towards its round's, less the mean of its prompt.

The subtraction matters: where an attribute depends on the prompt (a spin is always slow, a jump always fast), a thumb
without it judges the prompt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

SHRINK_VOTES = 2.0  # pseudo-votes on each video, with the round's share of ups


@dataclass(frozen=True)
class Count:
    """The votes of one video; fractions where votes have weights."""

    video: str
    round_key: str
    prompt_id: str
    up: float
    down: float


@dataclass(frozen=True)
class Score:
    """`share` is the shrunk share of ups, `raw` is twice its distance from the round's share, `score` is centred."""

    share: float
    raw: float
    score: float


def scores(counts: Sequence[Count]) -> dict[str, Score]:
    """Return the scores by video.

    With m the round's share of ups: share = (up + 2 m) / (up + down + 2); raw = 2 (share - m); score = raw less its
    prompt's mean. A prompt with one video has nothing to be compared with: there the mean of all videos is taken off.
    """
    means = _round_means(counts)
    shares = {each.video: _shrunk(each, means[each.round_key]) for each in counts}
    raw = {each.video: 2 * (shares[each.video] - means[each.round_key]) for each in counts}
    by_prompt: defaultdict[str, list[float]] = defaultdict(list)
    for each in counts:
        by_prompt[each.prompt_id].append(raw[each.video])
    of_all = fmean(raw.values()) if raw else 0.0
    centres = {name: fmean(values) if len(values) > 1 else of_all for name, values in by_prompt.items()}
    return {
        each.video: Score(shares[each.video], raw[each.video], raw[each.video] - centres[each.prompt_id])
        for each in counts
    }


def _shrunk(count: Count, mean: float) -> float:
    return (count.up + SHRINK_VOTES * mean) / (count.up + count.down + SHRINK_VOTES)


def _round_means(counts: Iterable[Count]) -> Mapping[str, float]:
    """Return each round's share of ups; one half where nobody voted."""
    ups: defaultdict[str, float] = defaultdict(float)
    votes: defaultdict[str, float] = defaultdict(float)
    for each in counts:
        ups[each.round_key] += each.up
        votes[each.round_key] += each.up + each.down
    return {name: ups[name] / votes[name] if votes[name] else 0.5 for name in votes}
