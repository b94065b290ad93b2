"""The rows that a data set is made of, as a community's database has them, before anything is left out.

Members are opaque names here, which the data set never shows: `tables.py` turns them into pseudonyms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from generation.strict_json import JsonObject

Thumb = Literal["up", "down"]
BattleChoice = Literal["a", "b", "tie", "both_bad"]
MotionSource = Literal["frames", "file"]


class Consent(StrEnum):
    """A member's word on training with what they gave."""

    GIVEN = "given"  # they have read the notice, and have not opted out
    NOT_ASKED = "not_asked"  # they have not read it yet: nothing of theirs is used
    OPTED_OUT = "opted_out"


class Exclusion(StrEnum):
    """The reason why a video is no part of any data set, whoever asked for it."""

    REMOVED = "removed"  # by a moderator, after it was posted
    REJECTED = "rejected"  # by a moderator, in a review of its prompt or its pictures


@dataclass(frozen=True)
class RoundRow:
    """A round; `key` names it on the ledger."""

    key: str
    number: int


@dataclass(frozen=True)
class VideoRow:
    """A posted video; `key` names it on the ledger. `card` is its provenance card, where its worker gave one."""

    key: str
    round_key: str
    author: str
    prompt: str
    seed: int
    model_id: str
    model_revision: str | None
    mp4_sha256: str | None
    card: JsonObject | None = None
    model_license: str | None = None
    motion: float | None = None  # see generation/video/motion.py
    motion_source: MotionSource | None = None
    exclusion: Exclusion | None = None

    def __repr__(self) -> str:
        return f"VideoRow({self.key!r})"  # a prompt is its member's own


@dataclass(frozen=True)
class VoteRow:
    """The standing choice of one voter on one video. A withdrawn vote has no row."""

    video_key: str
    voter: str
    choice: Thumb
    reasons: tuple[str, ...] = ()
    rejected_by_ledger: bool = False


@dataclass(frozen=True)
class FeedbackRow:
    """The words of one member about one video; `after_notice`: the member had read the notice before."""

    video_key: str
    member: str
    text: str
    after_notice: bool

    def __repr__(self) -> str:
        return f"FeedbackRow({self.video_key!r})"  # the words are the member's own


@dataclass(frozen=True)
class BattleVoteRow:
    """The choice of one voter between two videos of one prompt."""

    video_a: str
    video_b: str
    voter: str
    choice: BattleChoice


@dataclass(frozen=True)
class Community:
    """Everything that one data set is made of. A member whom `consents` does not name has not been asked."""

    rounds: Sequence[RoundRow]
    videos: Sequence[VideoRow]
    votes: Sequence[VoteRow] = ()
    feedback: Sequence[FeedbackRow] = ()
    battles: Sequence[BattleVoteRow] = ()
    consents: Mapping[str, Consent] = field(default_factory=dict)
