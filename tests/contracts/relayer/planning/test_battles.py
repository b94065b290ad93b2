"""Battles on their way to the ledger: entered once, voted on in the usual batches, revealed after the result."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger import calldata as calls
from contracts.ledger.batch_codec import number_of
from contracts.ledger.client import BattleTally, Ledger, Tally, from_hex
from contracts.outbox import entries as outbox
from contracts.outbox.battles import battle_status, reveal_status
from contracts.relayer.relayer import Relayer
from migrations.schema import outbox as entries
from tests.builders.accounts import member
from tests.builders.battles import CANDIDATE, LIVE, Tuners, registration, salt_of
from tests.builders.relayed_community import PEPPER, QUICK, rejection_reasons, relay_all, send_by_hand

FIRST = number_of(1, 1)


@pytest.fixture
def tuners(store: AsyncEngine) -> Tuners:
    return Tuners(store)


@pytest.fixture
def relayer(tuners: Tuners, ledger: Ledger, chain: Any) -> Relayer:
    return Relayer(tuners.engine, ledger, chain.signer, QUICK)


async def events(ledger: Ledger, name: str) -> list[Any]:
    return [event async for event in ledger.events(0, topics=ledger.any_of(name))]


async def test_a_battle_round_from_its_registration_to_its_reveal(
    tuners: Tuners, ledger: Ledger, relayer: Relayer
) -> None:
    """The registration's hash opens the round; videos and battles share batches; the sides come last."""
    round_id = await tuners.battle_round()
    await tuners.battle(round_id, "b1")
    await tuners.battle(round_id, "b2", swapped=True)
    await tuners.video(round_id, "v")
    await tuners.choose(round_id, "b1", (1, 1), (2, 3), (3, 2), (1, 3))
    await tuners.choose(round_id, "b2", (1, 2))
    await tuners.vote(round_id, "v", (1, 1), (2, 0))
    await relay_all(relayer)
    [opened] = await events(ledger, "RoundOpened")
    assert opened.args["meta"].hex() == outbox.text_hash(registration().decode())
    numbers = {name: (await battle_status(tuners.engine, name)) for name in ("b1", "b2")}
    b1, b2 = (numbers[name].number for name in ("b1", "b2"))  # type: ignore[union-attr]  # both are entered
    assert b1 is not None
    assert b2 is not None
    assert [await ledger.battle_tally(b1), await ledger.battle_tally(b2)] == [
        BattleTally(0, 1, 2),
        BattleTally(0, 1, 0),
    ]
    assert len(await tuners.sent("votes")) == 1
    assert await tuners.states("reveal") == {"pending": 2}, "no side is told before the round is over"
    await tuners.close(round_id)
    await relay_all(relayer)
    assert await tuners.states("reveal") == {"final": 2}
    assert {event.args["battle"]: event.args["model_a"].hex() for event in await events(ledger, "BattleRevealed")} == {
        b1: CANDIDATE, b2: LIVE,
    }  # fmt: skip
    decided = {event.args["battle"]: event.args["outcome"] for event in await events(ledger, "BattleDecided")}
    assert decided == {b1: 2, b2: 2}
    status = await reveal_status(tuners.engine, "b1")
    assert status is not None
    assert status.on_ledger
    assert (status.number, status.reason) == (b1, None)
    assert status.tx == (await tuners.sent("reveal"))[0].hashes[-1]
    order = [event.name async for event in ledger.events(0)]
    assert order.index("BattleRevealed") > order.index("RoundFinalized")


async def test_a_vote_on_a_battle_can_be_changed_and_not_withdrawn(tuners: Tuners, ledger: Ledger) -> None:
    """A batch has no word for it; the row is refused at once, as are choices that there are not."""
    round_id = await tuners.battle_round()
    await tuners.battle(round_id, "b1")
    for choice in (0, 4):
        with pytest.raises(ValueError, match="1, 2 or 3"):
            await tuners.choose(round_id, "b1", (1, choice))
    assert await tuners.states("vote") == {}


async def test_a_wallet_votes_on_battles_too(tuners: Tuners, ledger: Ledger, relayer: Relayer) -> None:
    """It may choose a tie there, and nowhere else."""
    round_id = await tuners.battle_round()
    await tuners.battle(round_id, "b1")
    await tuners.video(round_id, "v")
    await relay_all(relayer)
    await tuners.link(ledger, 3, member(3))
    await relay_all(relayer)
    voter = outbox.voter_id(PEPPER, 7, 3)
    about = {"wallet": member(3).address, "nonce": 10**14, "deadline": 10**10, "signature": b"s"}
    number = (await battle_status(tuners.engine, "b1")).number  # type: ignore[union-attr]  # it is entered
    assert number is not None
    async with tuners.engine.begin() as connection:
        await outbox.record_ballot(
            connection,
            round_id=round_id,
            voter_id=voter,
            choices=[("b1", number, 3)],
            **about,  # type: ignore[arg-type]  # spelled out above
        )
    with pytest.raises(ValueError, match="of a battle also 3"):
        async with tuners.engine.begin() as connection:
            await outbox.record_ballot(
                connection,
                round_id=round_id,
                voter_id=voter,
                choices=[("v", number, 3)],
                **about,  # type: ignore[arg-type]  # spelled out above
            )
    assert await tuners.states("signed") == {"pending": 1}


async def test_battles_that_the_ledger_holds_already_are_not_sent_again(
    tuners: Tuners, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """Their numbers are read, and votes on them go; a reveal by somebody else is taken over with its transaction."""
    round_id = await tuners.battle_round()
    await relay_all(relayer)
    await tuners.battle(round_id, "b1")
    await tuners.choose(round_id, "b1", (1, 1))
    async with tuners.engine.connect() as connection:
        payload = await connection.scalar(select(entries.c.payload).where(entries.c.kind == "battle"))
    assert payload is not None
    told = [from_hex(payload[name]) for name in ("prompt_hash", "content_a", "content_b", "sides")]
    await send_by_hand(ledger, chain, calls.add_battle(from_hex(payload["key"]), 1, *told))
    await relay_all(relayer)
    assert await tuners.sent("battle") == []
    assert await ledger.battle_tally(FIRST) == BattleTally(1, 0, 0)
    await send_by_hand(ledger, chain, calls.close_round(1))
    sides = (from_hex(CANDIDATE), from_hex(LIVE), salt_of("b1"))
    tx = await send_by_hand(ledger, chain, calls.reveal_battle(FIRST, *sides))
    await tuners.close(round_id)
    await relay_all(relayer)
    assert await tuners.sent("reveal") == []
    status = await reveal_status(tuners.engine, "b1")
    assert status is not None
    assert (status.state, status.tx) == ("final", tx)


async def test_a_battle_that_the_ledger_refuses_holds_up_nobody(
    tuners: Tuners, ledger: Ledger, relayer: Relayer
) -> None:
    """Its reveal and the votes on it are rejected with it, each with a sentence; the round goes on and ends."""
    round_id = await tuners.battle_round()
    await tuners.battle(round_id, "b1")
    await tuners.battle(round_id, "b2")
    async with tuners.engine.begin() as connection:
        row = (
            await connection.execute(select(entries).where(entries.c.video_id == "b1", entries.c.kind == "battle"))
        ).one()
        await connection.execute(
            update(entries).where(entries.c.id == row.id).values(payload={**row.payload, "sides": "00" * 32})
        )
    await tuners.choose(round_id, "b1", (1, 1))
    await tuners.choose(round_id, "b2", (1, 1))
    await tuners.close(round_id)
    await relay_all(relayer)
    assert await rejection_reasons(tuners, "battle") == ["The ledger refused it: no sides.", None]
    assert await rejection_reasons(tuners, "reveal") == ["The battle could not be recorded on the ledger.", None]
    assert await rejection_reasons(tuners, "vote") == ["The battle could not be recorded on the ledger.", None]
    assert (await ledger.round_info(1)).final
    assert await ledger.battle_tally(FIRST) == BattleTally(1, 0, 0)
    status = await battle_status(tuners.engine, "b1")
    assert status is not None
    assert (status.number, status.reason) == (None, "The ledger refused it: no sides.")
    await tuners.choose(round_id, "b2", (2, 1))  # no end waits for the reveal that was refused
    await relay_all(relayer)
    assert (await tuners.states("vote"))["rejected"] == 2


async def test_sides_that_were_not_fixed_are_refused_at_once_and_by_the_ledger(
    tuners: Tuners, ledger: Ledger, relayer: Relayer
) -> None:
    """An entry that was altered on its way is rejected by the ledger with a sentence."""
    round_id = await tuners.battle_round()
    with pytest.raises(ValueError, match="not the sides"):
        await tuners.battle_with_other_sides(round_id, "b0")
    await tuners.battle(round_id, "b1")
    async with tuners.engine.begin() as connection:
        row = (await connection.execute(select(entries).where(entries.c.kind == "reveal"))).one()
        await connection.execute(
            update(entries).where(entries.c.id == row.id).values(payload={**row.payload, "model_b": "77" * 32})
        )
    await tuners.close(round_id)
    await relay_all(relayer)
    assert await rejection_reasons(tuners, "reveal") == ["The battle was entered with other sides than these."]
    assert await ledger.tally(FIRST) == Tally(0, 0)
