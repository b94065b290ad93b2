"""Pairs of videos of one prompt, with the probability that the first one is preferred.

They come from thumbs, within a round, and from battles. No pair is made across rounds by thumbs: other people voted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from generation.feedback.dataset.rows import BattleVoteRow

PairSource = Literal["thumbs", "battle"]
ALL_WITH_ALL = 16  # videos of a prompt that are all paired with one another; more have NEIGHBOURS each
NEIGHBOURS = 8
PRIOR_BATTLES = 2.0  # pseudo-battles that end in a tie


@dataclass(frozen=True)
class Thumbs:
    """The votes of one video, and its shrunk share of ups, between 0 and 1."""

    video: str
    up: int
    down: int
    share: float


@dataclass(frozen=True)
class Pair:
    """Two videos. `label` is the probability that `video_a` is preferred; `a` and `b` count votes for each."""

    source: PairSource
    video_a: str
    video_b: str
    label: float
    a: int = 0  # battles that a won; of thumbs: ups of a
    b: int = 0
    a_down: int = 0  # of thumbs alone
    b_down: int = 0
    ties: int = 0  # of battles alone
    both_bad: int = 0


def of_thumbs(videos: Sequence[Thumbs]) -> Iterator[Pair]:
    """Yield the pairs of one prompt in one round, in the order of the videos' names. Both have votes.

    The label is the probability that somebody who likes exactly one of the two likes the first: with the shrunk shares
    p and q it is p (1 - q) / (p (1 - q) + q (1 - p)).
    """
    rated = sorted((each for each in videos if each.up + each.down), key=lambda each: each.video)
    for number, first in enumerate(rated):
        for second in _partners(rated, number):
            a, b = sorted((first, second), key=lambda each: each.video)
            yield Pair("thumbs", a.video, b.video, _label(a.share, b.share), a.up, b.up, a.down, b.down)


def _partners(rated: Sequence[Thumbs], number: int) -> Sequence[Thumbs]:
    """Return the partners of a video: each pair once. So a prompt of a thousand videos gives no million of pairs."""
    if len(rated) <= ALL_WITH_ALL:
        return rated[number + 1 :]
    return [rated[(number + step) % len(rated)] for step in range(1, NEIGHBOURS + 1)]


def _label(p: float, q: float) -> float:
    first, second = p * (1 - q), q * (1 - p)
    return first / (first + second) if first + second else 0.5


def of_battles(votes: Iterable[BattleVoteRow]) -> Iterator[Pair]:
    """Yield a pair for each two videos that met, in the order of their names; a tie and "both bad" are half a win."""
    by_pair: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for vote in votes:
        swapped = vote.video_b < vote.video_a
        choice = {"a": "b", "b": "a"}.get(vote.choice, vote.choice) if swapped else vote.choice
        names = (vote.video_b, vote.video_a) if swapped else (vote.video_a, vote.video_b)
        by_pair[names][choice] += 1
    for (video_a, video_b), count in sorted(by_pair.items()):
        undecided = count["tie"] + count["both_bad"]
        number = count["a"] + count["b"] + undecided
        label = (count["a"] + undecided / 2 + PRIOR_BATTLES / 2) / (number + PRIOR_BATTLES)
        yield Pair(
            "battle", video_a, video_b, label, count["a"], count["b"], ties=count["tie"], both_bad=count["both_bad"]
        )
