"""What fits into one batch: as much as the contract takes, never more, and the rest goes next."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select, update

from contracts.ledger import batch_codec as stream
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger, Tally, from_hex, gather
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.relayer import Relayer, RelayerSettings
from migrations.schema import outbox as entries
from migrations.schema import seats, videos, voters
from tests.builders.relayed_community import (
    FIRST,
    LAZY,
    PEPPER,
    QUICK,
    Community,
    ballots,
    relay_all,
)

ROOMY = RelayerSettings(
    drafts=DraftSettings(flush_age_s=0.0, max_gas=25_000_000, confirm_s=0.0), poll_s=0.05, rebroadcast_s=0.05
)


async def test_a_member_votes_on_more_videos_than_a_batch_has_words(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """On 257 videos: the ledger takes a batch of 256 words, and the last vote follows in the next."""
    round_id = await community.round()
    relayer = Relayer(community.engine, ledger, chain.signer, ROOMY)
    await relay_all(relayer)
    names = [f"v{place:03}" for place in range(1, 258)]
    node, signer = ledger.node, chain.signer
    first, fees = await node.nonce(signer.address), await node.fees()
    offer = {"maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.tip, "gas": 400_000, "value": 0}
    known = {"chainId": await node.chain_id(), "to": ledger.address, **offer}
    for place, name in enumerate(names):
        key = from_hex(outbox.text_hash("key" + name))
        data = calls.add_video(key, 1, bytes(32), bytes(32), bytes(32), "")
        await node.send((await signer.sign({**known, "nonce": first + place, "data": data})).raw)
    for name in names:
        await community.video(round_id, name)
    async with community.engine.begin() as connection:  # the relayer would ask for each of them by itself
        for place, name in enumerate(names):
            number = FIRST + place
            await connection.execute(update(videos).where(videos.c.id == name).values(chain_id=number))
        await connection.execute(update(entries).where(entries.c.kind == "video").values(state="final"))
        voter = outbox.voter_id(PEPPER, 7, 1)
        await outbox.record_votes(connection, outbox.vote_rows((round_id, name, voter, 1) for name in names))
    await relay_all(relayer)

    assert await community.states("vote") == {"final": 257}
    batches = await community.sent("votes")
    assert [(row.seq, row.state) for row in batches] == [(0, "final"), (1, "final")]
    async with community.engine.connect() as connection:
        last = select(entries.c.video_id).where(entries.c.transaction_id == batches[1].id)
        assert list(await connection.scalars(last)) == names[-1:]
    assert set(await gather(ledger.tally, range(FIRST, FIRST + 257))) == {Tally(1, 0)}


async def test_votes_of_scattered_seats_go_in_as_many_batches_as_they_need(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four slots of two videos are eight words; where a batch takes five, all votes arrive all the same, in order."""
    monkeypatch.setattr(stream, "MAX_WORDS", 5)
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.video(round_id, "b")
    members = range(1, 401)
    await community.vote(round_id, "a", *[(member, 1) for member in members])
    relayer = Relayer(community.engine, ledger, chain.signer, ROOMY)
    await relay_all(relayer)
    assert await ledger.seq() == 1
    far_apart = [member for slot in range(4) for member in range(1 + 112 * slot, 5 + 112 * slot)]
    await community.vote(round_id, "a", *[(member, 2) for member in far_apart])
    await community.vote(round_id, "b", *[(member, 1) for member in far_apart])
    await community.vote(round_id, "b", (337, 2))  # changed while it waits
    await relay_all(relayer)
    assert set(await community.states("vote")) == {"final", "superseded"}
    assert await ledger.seq() == 3
    assert (await ledger.tally(FIRST), await ledger.tally(FIRST + 1)) == (Tally(384, 16), Tally(15, 1))
    assert (await ballots(ledger, 2, 337))[-1] == 2


async def test_a_vote_for_a_seat_that_is_a_wallets_own_holds_up_nobody(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """No batch can hold it: it is refused with a sentence, and the others go."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1), (2, 2))
    voter = outbox.voter_id(PEPPER, 7, 2)
    async with community.engine.begin() as connection:
        await connection.execute(insert(voters).values(voter_id=voter))
        await connection.execute(
            insert(seats).values(round_id=round_id, voter_id=voter, seat=stream.OWN_SEATS, claimed=True)
        )
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    assert await community.states("vote") == {"final": 1, "rejected": 1}
    assert await ledger.tally(FIRST) == Tally(1, 0)


async def test_votes_wait_to_be_gathered_and_go_when_the_round_closes(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Young votes stay in the outbox; closing sends them at once, before the round is closed on chain."""
    round_id = await community.round()
    await community.video(round_id, "a")
    relayer = Relayer(community.engine, ledger, chain.signer, LAZY)
    await community.vote(round_id, "a", (1, 1), (2, 2))
    await relay_all(relayer)
    assert await community.states("vote") == {"pending": 2}
    assert await ledger.seq() == 0
    await community.close(round_id)
    await relay_all(relayer)
    assert await community.states("vote") == {"final": 2}
    assert await ledger.tally(FIRST) == Tally(1, 1)


async def test_enough_votes_go_without_waiting(community: Community, ledger: Ledger, chain: Any) -> None:
    """From `flush_votes` on, age does not matter; one below, nothing is sent."""
    settings = RelayerSettings(drafts=DraftSettings(flush_votes=3, flush_age_s=3600.0))
    round_id = await community.round()
    await community.video(round_id, "a")
    relayer = Relayer(community.engine, ledger, chain.signer, settings)
    await community.vote(round_id, "a", (1, 1), (2, 1))
    await relay_all(relayer)
    assert await ledger.seq() == 0
    await community.vote(round_id, "a", (3, 1))
    await relay_all(relayer)
    assert await ledger.tally(FIRST) == Tally(3, 0)


async def test_a_batch_that_would_cost_too_much_is_split(community: Community, ledger: Ledger, chain: Any) -> None:
    """Over the gas limit, votes go in several batches; all of them arrive."""
    settings = RelayerSettings(drafts=DraftSettings(flush_age_s=0.0, max_gas=130_000, confirm_s=0.0))
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", *[(member, 1) for member in range(1, 101)])
    await relay_all(Relayer(community.engine, ledger, chain.signer, settings))
    assert await ledger.tally(FIRST) == Tally(100, 0)
    batches = await community.sent("votes")
    assert len(batches) > 1
    assert [row.seq for row in batches] == list(range(len(batches)))


async def test_one_vote_that_spoils_a_batch_is_found_and_the_others_go(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Its member reads why; a hundred others are recorded, and no batch is reverted on the chain."""
    round_id = await community.round()
    await community.video(round_id, "a")
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await community.vote(round_id, "a", *[(member, 1) for member in range(1, 101)])
    stranger = outbox.voter_id(PEPPER, 7, 50)
    async with community.engine.begin() as connection:
        await connection.execute(insert(voters).values(voter_id=stranger, voter_index=4_000_000))
    await relay_all(relayer)
    assert await community.states("vote") == {"final": 99, "rejected": 1}
    assert (await ledger.tally(FIRST)).up == 99
    told = (await receipts.voter_receipts(community.engine, round_id, stranger))["a"]
    assert told.state == "rejected"
    assert str(told.reason).startswith("The ledger refused it: ")
    assert {row.state for row in await community.sent("votes")} == {"final"}
    assert len(await community.sent("votes")) <= 10
