"""A round: a task, a deadline, a voting thread, and in the end a winner."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from migrations.states.community import RoundStatus

# Of these a guild has at most one round: it is not over yet.
NOT_CLOSED = (RoundStatus.OPENING, RoundStatus.OPEN, RoundStatus.CLOSING)


@dataclass(frozen=True)
class Round:
    """A row of `rounds`; migrations/schema/community.py explains the fields."""

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
    def from_row(cls, row: object) -> Self:
        """Return the round in a row that has all columns of `rounds`."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        return cls(**{**values, "status": RoundStatus(values["status"])})

    @property
    def opened(self) -> bool:
        """True once the round has a voting thread; a round that closed without one could not be opened."""
        return self.thread_id is not None

    @property
    def tallies_hidden(self) -> bool:
        """True until the round is closed: a card that shows who leads would sway those who vote after."""
        return self.status != RoundStatus.CLOSED

    def accepts_votes(self, now_ms: int) -> bool:
        """Return True between the opening and the deadline, and never after."""
        return self.status == RoundStatus.OPEN and self.opens_at_ms <= now_ms < self.closes_at_ms
