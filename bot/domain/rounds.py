"""A round: a task, a deadline, a voting thread, and in the end a winner."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, Self

RoundStatus = Literal["opening", "open", "closing", "closed"]


@dataclass(frozen=True)
class Round:
    """A row of `rounds`; see migrations/schema.py for what each field means."""

    id: int
    guild_id: int
    number: int
    task: str
    opened_by: int
    channel_id: int
    thread_id: int | None
    announcement_id: int | None
    status: RoundStatus
    opens_at_ms: int
    closes_at_ms: int
    winner_video_id: str | None
    result_message_id: int | None
    chain_key: str
    chain_id: int | None
    finalized_tx: str | None
    trouble: str | None = None

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """From a row that has all columns of `rounds`."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})

    @property
    def opened(self) -> bool:
        """True once it has a voting thread; a round that is closed without one could not be opened."""
        return self.thread_id is not None

    def accepts_votes(self, now_ms: int) -> bool:
        """True between the opening and the deadline, and never after."""
        return self.status == "open" and self.opens_at_ms <= now_ms < self.closes_at_ms
