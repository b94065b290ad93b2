"""The order of a round's votes is kept as they were entered, and read again."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.outbox.entries import text_hash, voter_id
from contracts.outbox.vote_order import VoteOrderError, order_of_votes, read_vote_order
from tests.builders.battles import Tuners
from tests.builders.relayed_community import PEPPER


async def test_votes_are_told_in_the_order_in_which_they_were_entered(database: AsyncEngine) -> None:
    """Whatever the numbers of battles and voters; another round's votes are not among them."""
    tuners = Tuners(database)
    round_id, other = await tuners.battle_round(), await tuners.battle_round(2)
    for name in ("b1", "b2"):
        await tuners.battle(round_id, name)
    await tuners.battle(other, "b3")
    await tuners.choose(round_id, "b2", (2, 1))
    await tuners.choose(other, "b3", (2, 1))
    await tuners.choose(round_id, "b1", (1, 3), (2, 2))
    async with database.connect() as connection:
        places = read_vote_order(await order_of_votes(connection, round_id))
    votes = [("b2", 2), ("b1", 1), ("b1", 2)]
    assert places == {
        (bytes.fromhex(text_hash("key" + name)), bytes.fromhex(voter_id(PEPPER, 7, member))): place
        for place, (name, member) in enumerate(votes)
    }


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format":"x"}', b'{"format":"flock battle vote order 1"}'])
def test_another_text_is_no_order(text: bytes) -> None:
    """It is refused, not taken for an order without votes."""
    with pytest.raises(VoteOrderError):
        read_vote_order(text)
