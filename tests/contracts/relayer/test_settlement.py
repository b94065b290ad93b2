"""The fate of transactions, written down: reverted, in a block, final, and with the numbers that the ledger gave."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger, Tally, from_hex
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.rpc.node import (
    ChainUnreachableError,
    LedgerRefusedError,
)
from migrations.schema import voters
from tests.builders.relayed_community import (
    FIRST,
    PEPPER,
    QUICK,
    Community,
    persist,
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
