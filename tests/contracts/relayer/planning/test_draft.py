"""Entries that the ledger refuses: each is rejected with its sentence, and holds up no other."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from contracts.ledger import calldata as calls
from contracts.ledger.batch_codec import number_of
from contracts.ledger.client import Ledger, Tally
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import (
    ChainUnreachableError,
)
from migrations.database import now_ms
from migrations.schema import outbox as entries
from tests.builders.relayed_community import (
    FIRST,
    PEPPER,
    QUICK,
    Community,
    relay_all,
    send_by_hand,
)


async def test_votes_for_a_round_that_is_closed_on_chain_are_refused_and_others_go_through(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """The late votes are marked with a sentence; the other round's votes are recorded in the same breath."""
    first, second = await community.round(1), await community.round(2)
    await community.video(first, "a")
    await community.video(second, "b")
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    await send_by_hand(ledger, chain, calls.close_round(1))
    await community.vote(first, "a", (1, 1), (2, 1), (3, 2))
    await community.vote(second, "b", (1, 1), (2, 1))
    await relay_all(relayer)
    assert await community.states("vote") == {"rejected": 3, "final": 2}
    assert await ledger.tally(number_of(2, 1)) == Tally(2, 0)
    receipt = (await receipts.voter_receipts(community.engine, first, outbox.voter_id(PEPPER, 7, 1)))["a"]
    assert receipt.reason == "The round had already closed on the ledger."
    assert (await relayer.status()).rejected == 3


async def test_a_video_that_comes_too_late_takes_its_votes_with_it(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """The ledger refuses the video, so its votes can never count; the round still gets its result."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    await send_by_hand(ledger, chain, calls.close_round(1))
    await community.video(round_id, "b")
    await community.vote(round_id, "b", (1, 1), (2, 1))
    await community.close(round_id)
    await relay_all(relayer)
    assert await community.states("video") == {"final": 1, "rejected": 1}
    assert await community.states("vote") == {"final": 1, "rejected": 2}
    assert (await ledger.round_info(1)).winner == FIRST


async def test_a_round_that_was_over_before_the_ledger_was_reached_is_refused_with_all_that_is_in_it(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Nothing of it can be recorded any more: each entry says so, and nothing waits for ever."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    await community.close(round_id)
    async with community.engine.begin() as connection:
        row = (await connection.execute(select(entries).where(entries.c.kind == "round"))).one()
        late = {**row.payload, "opens": 1, "closes": now_ms() // 1000 - 5}
        await connection.execute(update(entries).where(entries.c.id == row.id).values(payload=late))
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    assert await community.states() == {"rejected": 4}
    assert await receipts.drained(community.engine, round_id)


async def test_a_paused_ledger_refuses_nobody_for_good(community: Community, ledger: Ledger, chain: Any) -> None:
    """While paused, entries wait and the operator reads why; afterwards they go."""
    await community.round()
    await send_by_hand(ledger, chain, calls._calldata("pause"))
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    with pytest.raises(ChainUnreachableError, match="paused by its guardian"):
        await relayer.tick()
    assert await community.states() == {"pending": 1}
    await send_by_hand(ledger, chain, calls._calldata("unpause"))
    await relay_all(relayer)
    assert await community.states() == {"final": 1}
