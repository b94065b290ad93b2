"""The states in the tables of battle rounds: plain words, as they were first written."""

from __future__ import annotations

import json
from enum import StrEnum

import pytest

from migrations.states.battles import BattleChoice, PairState, RoundKind


@pytest.mark.parametrize("kind", [BattleChoice, PairState, RoundKind])
def test_a_state_is_its_word(kind: type[StrEnum]) -> None:
    """In comparisons and JSON; another word is none of its states."""
    for state in kind:
        assert state == state.value
        assert json.dumps(state) == json.dumps(state.value)
    with pytest.raises(ValueError, match="ajar"):
        kind("ajar")
