"""The fate of transactions, written down: reverted, in a block, final, and with the numbers that the ledger gave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import insert

from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger, Tally, from_hex
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.rpc.endpoints import Patience
from contracts.rpc.node import (
    ChainUnreachableError,
    LedgerError,
    LedgerRefusedError,
)
from migrations.schema import voters
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import (
    FIRST,
    PEPPER,
    QUICK,
    Community,
    relay_all,
    send_by_hand,
)


async def test_a_transaction_that_is_reverted_on_chain_is_drafted_anew(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused between estimate and mining: the reverted one is kept on record, its votes go under the same sequence."""
    round_id = await community.round()
    await community.video(round_id, "a")
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    await community.vote(round_id, "a", (1, 1))
    send = ledger.node.send
    async with community.engine.begin() as connection:
        await connection.execute(insert(voters).values(voter_id=outbox.voter_id(PEPPER, 7, 1), voter_index=1))
    # the voter was forgotten by the chain: the draft is made as if the estimate had been taken from a stale node
    real = ledger.node.estimate

    async def stale(*_: Any) -> int:
        return 200_000

    with monkeypatch.context() as patch:
        patch.setattr(ledger.node, "estimate", stale)
        with pytest.raises(LedgerRefusedError, match="votes was reverted"):
            await relay_all(relayer)
    assert (ledger.node.estimate, ledger.node.send) == (real, send)
    assert [row.state for row in await community.sent("votes")] == ["reverted"]
    assert await community.states("vote") == {"pending": 1}
    await send_by_hand(ledger, chain, calls.register([from_hex(outbox.voter_id(PEPPER, 7, 1))]))
    await relay_all(relayer)
    assert [(row.state, row.seq) for row in await community.sent("votes")] == [("reverted", None), ("final", 0)]
    assert await ledger.tally(FIRST) == Tally(1, 0)


async def test_a_transaction_is_final_only_so_many_blocks_deep(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Mined but not deep enough, its number is known and nothing is called final yet; a few blocks later it is."""
    round_id = await community.round()
    relayer = Relayer(community.engine, ledger, chain.signer, RelayerSettings(confirmations=3))
    assert await relayer.tick() is True
    assert await community.states() == {"batched": 1}
    assert (await receipts.round_progress(community.engine, round_id)).chain_id == 1
    for _ in range(2):
        await ledger.node.web3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]  # the dev chain's own
    assert await relayer.tick() is False
    assert await community.states() == {"final": 1}


@pytest.fixture
async def nodes(chain: Any) -> AsyncIterator[list[FaultProxy]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FaultProxy(chain.url)) for _ in range(2)]


@pytest.fixture
async def through(ledger: Ledger, nodes: list[FaultProxy]) -> AsyncIterator[Ledger]:
    """The ledger by way of both nodes, looked at before each request."""
    async with Ledger(", ".join(node.url for node in nodes), ledger.address, timeout_s=2) as made:
        made.node._provider._patience = Patience(pause_s=0.01, rest_s=0.1, look_every_s=0.0)
        yield made


async def persist(relayer: Relayer) -> list[str]:
    """Ticks until nothing is left to do; gives the troubles that were met."""
    met = []
    for _ in range(300):
        try:
            if not await relayer.tick():
                return met
        except LedgerError as error:
            met.append(str(error))
            relayer._in_trouble(str(error), 0.0)
        await asyncio.sleep(0.01)
    raise AssertionError(met[-3:])


async def test_a_number_that_the_ledger_has_not_given_is_not_written_down(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt came from one node, the state from another that is behind: 0 is no round's number, so it waits."""
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    round_id = await community.round()
    known = ledger.round_of

    async def behind(*_: Any) -> int:
        return 0

    monkeypatch.setattr(ledger, "round_of", behind)
    with pytest.raises(ChainUnreachableError, match="its state does not have"):
        await relay_all(relayer)
    assert (await receipts.round_progress(community.engine, round_id)).chain_id is None
    monkeypatch.setattr(ledger, "round_of", known)
    await persist(relayer)
    assert (await receipts.round_progress(community.engine, round_id)).chain_id == 1
