"""A vote: one member's choice on one video, and what a set of votes adds up to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Source = Literal["button", "reaction", "wallet"]


class Choice(IntEnum):
    """A choice, numbered as on the ledger."""

    WITHDRAWN = 0
    UP = 1
    DOWN = 2

    @property
    def emoji(self) -> str:
        return {Choice.WITHDRAWN: "↩️", Choice.UP: "👍", Choice.DOWN: "👎"}[self]


EMOJI = {"👍": Choice.UP, "👎": Choice.DOWN}


def choice_of_emoji(emoji: str) -> Choice | None:
    """The choice that a reaction stands for, whatever its skin tone; None for any other emoji."""
    return EMOJI.get(emoji[:1])


@dataclass(frozen=True)
class Vote:
    """What a member wants to stand as their vote on a video."""

    guild_id: int  # where it was cast, which must be where the video is
    video_id: str
    member_id: int
    choice: Choice
    source: Source


@dataclass(frozen=True)
class Reaction:
    """A 👍 or 👎 that was put on a message, or taken off it; the writer finds out whether that is a video's card.

    It is queued at once, before anything is looked up, so that a member's reactions and presses keep their order.
    """

    guild_id: int
    message_id: int
    member_id: int
    choice: Choice
    change: Literal["added", "removed"]
    missed: bool = False  # found on the card afterwards: older than all that is heard in this session


@dataclass(frozen=True)
class Standing:
    """A member's vote on a video as it stands, after the commit that recorded it.

    With a `wallet`, the choice counts only once that address has signed it.
    """

    choice: Choice
    changed: bool
    round_number: int
    closes_at_ms: int
    prompt: str
    wallet: str | None = None


@dataclass(frozen=True)
class Tally:
    """The votes of one video."""

    up: int
    down: int

    @property
    def score(self) -> int:
        return self.up - self.down
