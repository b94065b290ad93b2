"""A review: a prompt or a video that a moderator decides about before anybody else sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from migrations.states.community import ReviewKind, ReviewState

MOST_FLAGS = 10  # that a review names
UNREADABLE = "the worker's classifier sent findings that cannot be read"


def describe_flags(findings: object) -> str | None:
    """Return a description of what a worker's classifier flagged, for moderators; None where it flagged nothing.

    Findings come from a worker, which is not trusted: a video with unreadable findings is held too.
    """
    if findings is None:
        return None
    flagged = findings.get("flagged") if isinstance(findings, Mapping) else None
    if not isinstance(flagged, list):
        return UNREADABLE
    try:
        texts = [f"{str(flag['label'])[:40]} ({float(flag['score']):.2f})" for flag in flagged]
    except (KeyError, TypeError, ValueError):
        return UNREADABLE
    return f"the classifier saw {', '.join(texts[:MOST_FLAGS])}" if texts else None


@dataclass(frozen=True)
class Review:
    """A row of `reviews`; migrations/schema/community.py explains the fields."""

    id: int
    kind: ReviewKind
    video_id: str
    guild_id: int
    round_id: int
    member_id: int
    member_name: str
    prompt: str
    finding: str
    state: ReviewState
    channel_id: int | None
    created_at_ms: int
    decided_by: int | None
    decided_at_ms: int | None
    reason: str | None

    @classmethod
    def from_row(cls, row: object) -> Self:
        """Return the review in a row that has all columns of `reviews`."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        return cls(**{**values, "kind": ReviewKind(values["kind"]), "state": ReviewState(values["state"])})
