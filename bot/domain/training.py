"""A member's word on training with what they gave: prompts, votes and feedback."""

from __future__ import annotations

from dataclasses import dataclass

from migrations.states.community import TrainingChoice


@dataclass(frozen=True)
class TrainingState:
    """A member's state in a server. Without a choice, a member who has read the notice takes part."""

    has_read: bool = False
    choice: TrainingChoice | None = None

    @property
    def is_in(self) -> bool:
        """True when what the member gave is used for training."""
        return self.has_read and self.choice is not TrainingChoice.OUT
