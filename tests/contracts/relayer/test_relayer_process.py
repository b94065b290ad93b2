"""Relayers as processes: killed at each step with SIGKILL, and two of them on one database."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
from sqlalchemy import func, select

from contracts.audit.audit import audit
from contracts.ledger.client import Ledger, Tally
from migrations.schema import chain_transactions
from tests.builders.relayed_community import FIRST, PEPPER, Community, ballots
from tests.builders.relayer_process import STEPS, end, options, start


@pytest.mark.parametrize("step", STEPS)
async def test_a_relayer_that_is_killed_leaves_everything_to_its_successor(
    community: Community, ledger: Ledger, chain: Any, step: str
) -> None:
    """Whatever was signed is sent as it is, whatever was not is drafted: each batch once, under its first hash."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1), (2, 2), (3, 1))
    killed = await end(start(options(community.engine, ledger, chain, step=step, kind="votes")))
    assert killed[0] == -signal.SIGKILL, killed
    stored = {row.nonce: bytes(row.raw) for row in await community.sent("votes")}
    assert bool(stored) is (step not in ("before sign", "after sign"))
    assert await ledger.seq() == (step in ("after send", "after receipt", "before final"))
    await community.vote(round_id, "a", (1, 2), (3, 0))
    await community.close(round_id)
    ended = await end(start(options(community.engine, ledger, chain)))
    assert ended[0] == 0, ended
    assert set(await community.states()) <= {"final", "superseded"}
    assert await ballots(ledger, 1, 3) == [2, 2, 0]
    batches = await community.sent("votes")
    assert [row.seq for row in batches] == list(range(await ledger.seq()))
    assert all(row.state == "final" and len(row.hashes) == 1 for row in batches)
    assert {row.nonce: bytes(row.raw) for row in batches if row.nonce in stored} == stored
    report = await audit(chain.url, ledger.address, database=community.engine, pepper=PEPPER)
    assert report.ok, report.problems


async def test_two_relayers_on_one_database_do_the_work_of_one(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Started side by side while votes come in: no nonce and no sequence number is used twice, and nothing fails."""
    nonce = await ledger.node.nonce(chain.signer.address)
    round_id = await community.round()
    await community.video(round_id, "a")
    both = [start(options(community.engine, ledger, chain)) for _ in range(2)]
    for member in range(1, 13):
        await community.vote(round_id, "a", (member, 1 + member % 2))
        await asyncio.sleep(0.05)
    await community.close(round_id)
    ended = [await end(process) for process in both]
    assert [status for status, *_ in ended] == [0, 0], ended
    assert set(await community.states()) <= {"final", "superseded"}
    assert await ledger.tally(FIRST) == Tally(6, 6)
    async with community.engine.connect() as connection:
        states = dict(
            (await connection.execute(select(chain_transactions.c.state, func.count()).group_by("state"))).all()
        )
    assert set(states) == {"final"}, "no transaction was in vain"
    assert await ledger.node.nonce(chain.signer.address) == nonce + states["final"]
