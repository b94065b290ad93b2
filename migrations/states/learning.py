"""The states in the tables of the learning loop. No SQLAlchemy here; the values are data and never change."""

from __future__ import annotations

from enum import StrEnum


class CandidateState(StrEnum):
    """The state of a candidate, in `candidates.state`: training -> checking -> ready -> battling -> won -> released."""

    TRAINING = "training"  # a worker tunes the adapter
    CHECKING = "checking"  # the adapter's file is made; the bot fetches it and looks at it
    READY = "ready"  # the file is with the bot, and a battle may begin
    BATTLING = "battling"  # members compare its videos with those of the live release
    WON = "won"  # the battle was decided for it; it may be released
    LOST = "lost"  # the battle was decided against it, or ended without a decision
    RELEASED = "released"  # it is, or was, a release
    REJECTED = "rejected"  # its training failed, or its file cannot be believed; `reason` says why
    WITHDRAWN = "withdrawn"  # a moderator or the operator took it back before it was released


class ReleaseState(StrEnum):
    """The state of a release, in `releases.state`. At most one release of a model is live."""

    LIVE = "live"  # workers render with it
    REPLACED = "replaced"  # a later release took its place
    ROLLED_BACK = "rolled_back"  # a moderator took it back; the release before it, or the base model, is in use again
