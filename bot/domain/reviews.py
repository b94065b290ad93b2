"""A review: a prompt or a video that a moderator decides about before anybody else sees it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, Self

Kind = Literal["prompt", "video"]
State = Literal["blocked", "waiting", "approved", "rejected", "over"]


def flags(findings: Any) -> str | None:
    """What a worker's classifier found, for moderators; None where there is nothing to hold a video for.

    Findings come from a worker: what cannot be read is held too.
    """
    if findings is None:
        return None
    try:
        found = [f"{str(one['label'])[:40]} ({float(one['score']):.2f})" for one in findings["flagged"]]
    except (KeyError, TypeError, ValueError):
        return "the worker's classifier said something that cannot be read"
    return f"the classifier saw {', '.join(found[:10])}" if found else None


@dataclass(frozen=True)
class Review:
    """A row of `reviews`; see migrations/schema.py for what each field means."""

    id: int
    kind: Kind
    video_id: str
    guild_id: int
    round_id: int
    member_id: int
    member_name: str
    prompt: str
    finding: str
    state: State
    channel_id: int | None
    created_at_ms: int
    decided_by: int | None
    decided_at_ms: int | None
    reason: str | None

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """From a row that has all columns of `reviews`."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})
