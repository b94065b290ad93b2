"""The states and kinds in the community's tables. No SQLAlchemy here: the pure nouns of `bot/domain` import these.

The values are data. They stand in the databases of every community, and never change.
"""

from __future__ import annotations

from enum import StrEnum


class RoundStatus(StrEnum):
    """The status of a round, in `rounds.status`."""

    OPENING = "opening"  # the row exists; the announcement and the thread on Discord are still to come
    OPEN = "open"  # the round has its thread and takes prompts and votes until its deadline
    CLOSING = "closing"  # written by earlier versions only, between the deadline and the post of the result
    CLOSED = "closed"  # the round takes neither prompts nor votes, and never will again


class VideoStatus(StrEnum):
    """The status of a video, in `videos.status`."""

    QUEUED = "queued"  # the job waits for a worker
    RENDERING = "rendering"  # a worker makes the video
    UPLOADING = "uploading"  # the video is rendered and goes to the host
    HOSTING = "hosting"  # the host has every byte and makes the video playable
    POSTING = "posting"  # the bot posts the card; from here on the video cannot be cancelled
    PUBLISHED = "published"  # the card stands in the voting thread and takes votes while the round is open
    FAILED = "failed"  # the video could not be made or posted; it does not count towards the member's quota
    CANCELLED = "cancelled"  # the member or the end of the round cancelled it; it does not count either
    REMOVED = "removed"  # a moderator removed the card after it had been published


class VoteSource(StrEnum):
    """The way in which a vote was cast, in `votes.source` and `unsigned_choices.source`."""

    BUTTON = "button"  # by a button of the card
    REACTION = "reaction"  # by 👍 or 👎 on the card; the removal of the reaction withdraws only such a vote
    WALLET = "wallet"  # by a ballot that the member's wallet signed; never in `unsigned_choices`


class ReviewKind(StrEnum):
    """The subject of a review, in `reviews.kind`."""

    PROMPT = "prompt"  # a prompt that a rule named; it has no video yet
    VIDEO = "video"  # a video that a worker's classifier flagged


class ReviewState(StrEnum):
    """The state of a review, in `reviews.state`: blocked -> waiting -> approved, rejected or over."""

    BLOCKED = "blocked"  # a prompt that was not taken; nobody has asked a moderator yet
    WAITING = "waiting"  # a moderator has to decide
    APPROVED = "approved"  # a moderator let it pass
    REJECTED = "rejected"  # a moderator turned it down
    OVER = "over"  # nobody wants the decision any more, for example because the round closed


class SigningKind(StrEnum):
    """The message that a member's wallet was asked to sign, in `signing_requests.kind`."""

    LINK = "link"  # the wallet signs the member's votes from now on
    UNLINK = "unlink"  # the wallet no longer does
    BALLOT = "ballot"  # choices on videos of one round


class TrainingChoice(StrEnum):
    """A member's choice about training with what they gave, in `training_choices.choice`."""

    IN = "in"  # what the member gave is used, also what they gave before
    OUT = "out"  # nothing of the member's is exported from now on
