"""The states and kinds in the tables of battle rounds. No SQLAlchemy here.

The values are data. They stand in the databases of every community, and never change.
"""

from __future__ import annotations

from enum import StrEnum


class RoundKind(StrEnum):
    """The kind of a round, in `rounds.kind`."""

    VIDEOS = "videos"  # members send prompts, and vote on each video
    BATTLE = "battle"  # members compare a candidate with the live model, blind


class PairState(StrEnum):
    """The state of a pair, in `battle_pairs.state`: waiting -> ready or left_out; a ready pair may be removed."""

    WAITING = "waiting"  # its videos are being made
    READY = "ready"  # both videos are here; members see it while the round is open
    LEFT_OUT = "left_out"  # a video could not be made or shown; `reason` says why
    REMOVED = "removed"  # a moderator took it away; votes that were cast on it before stand


class BattleChoice(StrEnum):
    """A member's choice between the two videos of a pair, in `battle_ballots.choice`."""

    A = "a"
    B = "b"
    TIE = "tie"
    BOTH_BAD = "both_bad"
