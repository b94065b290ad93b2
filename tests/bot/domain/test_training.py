"""Who takes part in training."""

from __future__ import annotations

import pytest

from bot.domain.training import TrainingState
from migrations.states.community import TrainingChoice


@pytest.mark.parametrize(
    ("has_read", "choice", "is_in"),
    [
        (False, None, False),
        (True, None, True),
        (True, TrainingChoice.IN, True),
        (True, TrainingChoice.OUT, False),
        (False, TrainingChoice.IN, False),
    ],
)
def test_nobody_takes_part_who_has_not_read_or_has_opted_out(
    has_read: bool, choice: TrainingChoice | None, is_in: bool
) -> None:
    assert TrainingState(has_read, choice).is_in is is_in
