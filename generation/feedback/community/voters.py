"""Scripted voters of one hidden taste: most of them err now and then, and some of them want the opposite.

They see what voters see: a video, or two of one prompt without names. The same seed gives the same members the same
dice; the order of a member's own votes decides the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from generation.feedback.community.prompts import followed
from generation.feedback.community.tastes import Facts, Taste
from generation.tiny.training.captions import Caption

NOISE, HOSTILE, VOTERS = 0.2, 0.1, 40
SLIP = 0.05  # a voter's chance to press the wrong button where a video plainly is not of its prompt


class Choice(StrEnum):
    """The answers to a pair of videos."""

    A = "a"
    B = "b"
    TIE = "tie"
    BOTH_BAD = "both_bad"


@dataclass(frozen=True)
class Voter:
    """A member who votes. A hostile one wants the opposite of the community's taste."""

    name: str
    hostile: bool
    dice: np.random.Generator


class Voters:
    """The members of a scripted community."""

    def __init__(
        self,
        taste: Taste,
        names: Sequence[str],
        *,
        seed: int = 0,
        noise: float = NOISE,
        hostile: float = HOSTILE,
        slip: float = SLIP,
    ) -> None:
        """`noise` is the chance of the opposite vote, `hostile` the share of members who are so, rounded."""
        self.taste = taste
        self.noise, self._slip = noise, slip
        enemies = set(sorted(names, key=lambda name: _digest(seed, name))[: round(hostile * len(names))])
        self.members = {name: Voter(name, name in enemies, _dice(seed, name)) for name in names}

    @property
    def hostile(self) -> Sequence[str]:
        """The names of the hostile members."""
        return [voter.name for voter in self.members.values() if voter.hostile]

    def likes(self, name: str, facts: Facts, middle: float) -> bool:
        """Return True for a thumb up: a video is liked whose utility is above the middle of all that were seen."""
        voter = self.members[name]
        is_coin = self.taste.name == "coins"
        likes = bool(voter.dice.random() < 0.5) if is_coin else self.taste.utility(facts) > middle
        return self._answered(voter, likes)

    def chooses(self, name: str, asked: Caption | None, a: Facts, b: Facts) -> Choice:
        """Return a member's answer to two videos of a prompt.

        A video that shows more of what was asked is better, whoever looks at it. Where both show as much, taste
        decides. `asked` is what the prompt asks for; None where nobody can tell.
        """
        voter = self.members[name]
        if a.is_blank and b.is_blank:
            return Choice.BOTH_BAD
        more = 0 if asked is None else followed(asked, a) - followed(asked, b)
        if more:
            is_a = more > 0
            is_a ^= bool(voter.dice.random() < self._slip)
            return Choice.A if is_a else Choice.B
        gain = self.taste.utility(a) - self.taste.utility(b)
        if abs(gain) <= self.taste.notices:
            return Choice.TIE
        return Choice.A if self._answered(voter, gain > 0) else Choice.B

    def _answered(self, voter: Voter, answer: bool) -> bool:
        """Return the answer as the member gives it."""
        answer ^= voter.hostile
        return answer ^ bool(voter.dice.random() < self.noise)


def _dice(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(list(_digest(seed, name)[:16]))


def _digest(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
