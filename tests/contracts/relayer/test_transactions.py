"""The account's transactions over a real database and a real embedded chain, killed and cheated at every step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from contracts.audit.audit import audit
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger, Tally
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import (
    ChainUnreachableError,
    LedgerError,
)
from migrations.schema import chain_transactions
from tests.builders.relayed_community import (
    FIRST,
    PEPPER,
    QUICK,
    Community,
    forget_lease,
    relay_all,
    send_by_hand,
)


def crash_after(calls_left: int, then: Callable[[bytes], Awaitable[bool]], *, sends: bool) -> Any:
    """A `send` at whose n-th call the process dies: before the bytes go out, or after they arrived."""

    async def send(raw: bytes) -> bool:
        nonlocal calls_left
        calls_left -= 1
        if calls_left == 0:
            if sends:
                await then(raw)
            raise KeyboardInterrupt
        return await then(raw)

    return send


@pytest.mark.parametrize(
    ("at", "sends"),
    [
        pytest.param(2, True, id="after the video was sent"),
        pytest.param(3, True, id="after the voters were sent"),
        pytest.param(4, False, id="before the votes are sent"),
        pytest.param(4, True, id="after the votes were sent"),
        pytest.param(6, True, id="after the result was sent"),
    ],
)
async def test_a_crash_around_any_sending_leaves_everything_recorded_once(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch, at: int, sends: bool
) -> None:
    """A new relayer sends the very same bytes again: each transaction is mined once, under its first hash."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1), (2, 2), (3, 1))
    await community.close(round_id)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.node, "send", crash_after(at, ledger.node.send, sends=sends))
        with pytest.raises(KeyboardInterrupt):
            await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    async with community.engine.connect() as connection:
        stored = {row.nonce: row.raw for row in await connection.execute(select(chain_transactions))}
    await forget_lease(community.engine)
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))

    assert await community.states() == {"final": 6}
    async with community.engine.connect() as connection:
        rows = (await connection.execute(select(chain_transactions).order_by(chain_transactions.c.nonce))).all()
    assert [row.kind for row in rows] == ["round", "video", "voters", "votes", "close", "finalize"]
    assert {row.nonce: row.raw for row in rows if row.nonce in stored} == stored
    assert all(row.state == "final" and len(row.hashes) == 1 for row in rows)
    assert await ledger.seq() == 1
    assert await ledger.tally(FIRST) == Tally(2, 1)
    assert (await audit(chain.url, ledger.address, database=community.engine, pepper=PEPPER)).ok


async def test_a_lost_answer_is_not_a_lost_transaction(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node took the bytes but its answer never came: nothing is signed anew, and it counts once."""
    await community.round()
    send = ledger.node.send

    async def lose(raw: bytes) -> bool:
        await send(raw)
        raise ChainUnreachableError("no answer")

    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.node, "send", lose)
        with pytest.raises(ChainUnreachableError):
            await relayer.tick()
    await relay_all(relayer)
    assert len(await community.sent("round")) == 1
    assert (await ledger.counts()).rounds == 1


async def test_a_nonce_that_another_program_took_is_noticed_and_the_entry_goes_again(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our dead transaction is given up after it looked dead repeatedly; its entry is sent under a new nonce."""
    await community.round()
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.node, "send", crash_after(1, ledger.node.send, sends=False))
        with pytest.raises(KeyboardInterrupt):
            await relayer.tick()
    await send_by_hand(ledger, chain, b"", to="0x" + "99" * 20)
    await relay_all(relayer)
    assert [row.state for row in await community.sent("round")] == ["reverted", "final"]
    assert (await ledger.counts()).rounds == 1


async def test_an_empty_account_is_named_before_anything_is_signed(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """The operator reads which account needs ether; nothing is sent, nothing is lost."""
    from eth_account import Account

    from contracts.signers.keystore import KeySigner

    poor = KeySigner(Account.create())
    await send_by_hand(ledger, chain, calls._calldata("set_relayer", poor.address, True))
    await community.round()
    relayer = Relayer(community.engine, ledger, poor, QUICK)
    with pytest.raises(LedgerError, match=f"{poor.address} holds 0.000000 ether"):
        await relayer.tick()
    assert await community.sent("round") == []
