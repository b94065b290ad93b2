"""A vote: one member's choice on one video; and the tally that votes add up to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from migrations.states.community import VoteSource


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
    """Return the choice of a reaction, whatever its skin tone; None for an emoji that is no vote."""
    return EMOJI.get(emoji[:1])


@dataclass(frozen=True)
class Vote:
    """The vote that a member wants on a video."""

    guild_id: int  # the guild in which it was cast, which must be the video's
    video_id: str
    member_id: int
    choice: Choice
    source: VoteSource


@dataclass(frozen=True)
class Reaction:
    """A 👍 or 👎 that was added to a message or removed from it; the vote writer looks up the video of the message.

    A reaction is queued at once, before any look-up, so that a member's reactions and presses keep their order.
    """

    guild_id: int
    message_id: int
    member_id: int
    choice: Choice
    change: Literal["added", "removed"]
    missed: bool = False  # read from the card afterwards: older than every event of this session


@dataclass(frozen=True)
class Standing:
    """A member's vote on a video, after the commit that recorded it.

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


@dataclass(frozen=True)
class CardVotes:
    """The votes that the card of a video shows: one standing choice for each member who voted.

    `on_ledger` counts the choices that stand on the ledger for good. `underway` counts choices and withdrawals that are
    on their way there.
    """

    tally: Tally = Tally(0, 0)
    on_ledger: int = 0
    underway: int = 0
    hidden: bool = True  # how many are up and how many down is not shown yet

    @property
    def number(self) -> int:
        return self.tally.up + self.tally.down

    @property
    def all_on_ledger(self) -> bool:
        """True once the ledger holds every vote as it stands, and nothing else."""
        return self.number > 0 and not self.underway and self.on_ledger == self.number
