"""A round: when it takes votes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bot.domain.rounds import Round
from migrations.states.community import RoundStatus

ROW = {
    "id": 1, "guild_id": 2, "number": 3, "task": "t", "opened_by": 4, "channel_id": 5, "thread_id": 6,
    "announcement_id": 7, "status": "open", "opens_at_ms": 1000, "closes_at_ms": 2000, "winner_video_id": None,
    "result_message_id": None, "chain_key": "k", "chain_id": None, "finalized_tx": None, "trouble": None,
}  # fmt: skip


def round_of(**changes: object) -> Round:
    return Round.from_row(SimpleNamespace(**{**ROW, **changes}))


@pytest.mark.parametrize(("now", "votes"), [(999, False), (1000, True), (1999, True), (2000, False)])
def test_votes_are_taken_from_the_opening_to_the_deadline(now: int, votes: bool) -> None:
    assert round_of().accepts_votes(now) is votes


@pytest.mark.parametrize("status", ["opening", "closing", "closed"])
def test_only_an_open_round_takes_votes(status: str) -> None:
    assert not round_of(status=status).accepts_votes(1500)


def test_a_row_becomes_a_round_with_a_status_of_its_own_type() -> None:
    """A word that is no status is an error, and no round."""
    assert round_of().status is RoundStatus.OPEN
    with pytest.raises(ValueError, match="ajar"):
        round_of(status="ajar")


def test_a_round_without_a_thread_was_not_opened() -> None:
    assert round_of().opened
    assert not round_of(thread_id=None).opened
