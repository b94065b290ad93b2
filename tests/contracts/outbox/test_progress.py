"""The progress of a round for members: what the ledger rejected, and what was recorded after all."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from contracts.ledger.client import Ledger
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.relayer import Relayer
from migrations.schema import outbox as entries
from tests.builders.relayed_community import PEPPER, QUICK, Community, relay_all


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


async def test_a_vote_that_was_taken_after_a_refused_one_was_not_refused(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Only what a voter chose last is counted as refused, once for each video."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    await refuse(community, ("a", 1))
    assert await receipts.count_rejected_votes(community.engine, round_id) == 1
    await community.vote(round_id, "a", (1, 2), (2, 1))
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    assert await receipts.count_rejected_votes(community.engine, round_id) == 0
    assert await receipts.recorded_tallies(community.engine, round_id) == {"a": (1, 1)}


@pytest.mark.parametrize(
    ("kind", "reason"), [("round", "It was over."), ("close", "There is no such round.")], ids=["round", "its end"]
)
async def test_a_round_or_an_end_that_was_refused_is_told(community: Community, kind: str, reason: str) -> None:
    """With its own reason; a vote that was refused ends no round."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    await community.close(round_id)

    async def reject(what: str, why: str) -> None:
        async with community.engine.begin() as connection:
            values = {"state": "rejected", "reason": why}
            await connection.execute(entries.update().where(entries.c.kind == what).values(**values))

    for other in ("vote", "video"):
        await reject(other, "The round had already closed on the ledger.")
    assert (await receipts.round_progress(community.engine, round_id)).rejection is None
    if kind == "round":
        await reject("close", "The round could not be recorded on the ledger.")
    await reject(kind, reason)
    assert (await receipts.round_progress(community.engine, round_id)).rejection == reason
