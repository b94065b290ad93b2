"""The result of a round as the ledger has it: only what is final, and only what the ledger took."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from contracts.ledger.client import Ledger, Tally
from contracts.ledger.round_result import Result, result_of
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import ChainUnreachableError
from migrations.schema import outbox as entries
from tests.builders.relayed_community import FIRST, PEPPER, QUICK, Community, relay_all


async def refuse(community: Community, *votes: tuple[str, int]) -> None:
    """What the relayer does with votes that the ledger refuses."""
    for video, member in votes:
        async with community.engine.begin() as connection:
            newest = select(entries.c.id).where(
                entries.c.video_id == video, entries.c.voter_id == outbox.voter_id(PEPPER, 7, member)
            )
            entry = (await connection.execute(newest.order_by(entries.c.id.desc()).limit(1))).scalar_one()
            await connection.execute(
                entries.update().where(entries.c.id == entry).values(state="rejected", reason="It came late.")
            )


async def test_a_final_round_has_its_winner_and_tallies(community: Community, ledger: Ledger, chain: Any) -> None:
    """Before it is final, there is nothing to read; our record says the same of it as the ledger."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.video(round_id, "b")
    await community.vote(round_id, "a", (1, 1), (2, 2))
    await community.vote(round_id, "b", (1, 1))
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    with pytest.raises(ChainUnreachableError, match="does not know yet that round 1 is final"):
        await result_of(ledger, 1, [FIRST])
    await community.vote(round_id, "a", (3, 1), (4, 1), (2, 1))
    await refuse(community, ("a", 3), ("a", 4), ("a", 2))
    await community.close(round_id)
    await relay_all(relayer)
    tallies = {FIRST: Tally(1, 1), FIRST + 1: Tally(1, 0)}
    assert await result_of(ledger, 1, list(tallies)) == Result(FIRST + 1, tallies)
    assert await receipts.recorded_tallies(community.engine, round_id) == {"a": (1, 1), "b": (1, 0)}
    assert await receipts.count_rejected_votes(community.engine, round_id) == 3
