"""What wallets signed, on its way to the ledger: in the right order, once, and never for somebody else."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from contracts.audit.audit import audit
from contracts.ledger.batch_codec import OWN_SEATS
from contracts.ledger.client import Ledger, Tally, from_hex
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.planning.draft import opened_in
from contracts.relayer.relayer import Relayer
from migrations.database import now_ms
from migrations.schema import outbox as entries
from migrations.schema import rounds, seats
from tests.builders.accounts import member
from tests.builders.relayed_community import (
    FIRST,
    PEPPER,
    QUICK,
    Community,
    ballots,
    begin_round,
    forget_lease,
    rejection_reasons,
    relay_all,
    send_by_hand,
)
from tests.builders.relayer_process import end, options, start

ANA, BEN, EMI = member(1), member(2), member(3)


@pytest.fixture
def relayer(community: Community, ledger: Ledger, chain: Any) -> Relayer:
    return Relayer(community.engine, ledger, chain.signer, QUICK)


def voter(number: int) -> str:
    return outbox.voter_id(PEPPER, 7, number)


async def check(community: Community, ledger: Ledger, chain: Any) -> None:
    report = await audit(chain.url, ledger.address, database=community.engine, pepper=PEPPER)
    assert report.ok, report.problems


async def test_a_wallet_takes_over_from_the_buttons(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """What was pressed before the link arrives before it; the seat is claimed, and the signed ballot replaces it."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", (1, 1), (2, 1))
    await community.link(ledger, 1, ANA)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 2})
    await relay_all(relayer)
    assert await community.states() == {"final": 7}
    kinds = ("votes", "link", "claim", "ballot")
    nonces = [row.nonce for kind in kinds for row in await community.sent(kind)]
    assert nonces == sorted(nonces)
    assert len(nonces) == len(kinds)
    assert await ballots(ledger, 1, 2) == [2, 1]
    mine = (await receipts.voter_receipts(community.engine, round_id, voter(1)))["a"]
    [sent] = await community.sent("ballot")
    assert (mine.choice, mine.signed, mine.seq, mine.tx, mine.seat) == (2, True, None, sent.hashes[-1], 0)
    await check(community, ledger, chain)


async def test_a_wallet_that_never_pressed_sits_apart(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """Its seat is none of the relayer's, and others go on to take theirs."""
    round_id = await begin_round(community, relayer)
    await community.link(ledger, 1, ANA)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 1})
    await community.vote(round_id, "a", (2, 1))
    await relay_all(relayer)
    await community.vote(round_id, "a", (3, 2))
    await relay_all(relayer)
    assert await ballots(ledger, 1, 3) == [1, 1, 2]
    assert await community.sent("claim") == []
    mine = (await receipts.voter_receipts(community.engine, round_id, voter(1)))["a"]
    assert mine.seat == OWN_SEATS
    assert await ledger.vote_of(FIRST, OWN_SEATS) == 1
    await check(community, ledger, chain)


async def test_a_wallet_votes_for_one_member(community: Community, ledger: Ledger, relayer: Relayer) -> None:
    """The second link is refused with a sentence, and so is what is signed for it; the others' go on."""
    round_id = await begin_round(community, relayer)
    await community.link(ledger, 1, ANA)
    await community.link(ledger, 2, ANA)
    await community.ballot(ledger, round_id, 2, BEN, {"a": 2})
    await community.link(ledger, 3, EMI)
    await relay_all(relayer)
    assert await rejection_reasons(community, "link") == [None, "That wallet votes for another member already.", None]
    assert await rejection_reasons(community, "ballot") == ["The wallet was not linked when this came to the ledger."]
    assert await community.states("signed") == {"rejected": 1}
    assert await ledger.tally(FIRST) == Tally(0, 0)


async def test_a_signature_of_another_wallet_is_refused(community: Community, ledger: Ledger, relayer: Relayer) -> None:
    """Whatever stands in the outbox, the ledger looks at the signature; nothing else is held up."""
    round_id = await begin_round(community, relayer)
    await community.link(ledger, 1, ANA)
    await relay_all(relayer)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 1})
    async with community.engine.begin() as connection:
        row = (await connection.execute(select(entries).where(entries.c.kind == "ballot"))).one()
        forged = {**row.payload, "choices": [[FIRST, 2]]}
        await connection.execute(update(entries).where(entries.c.id == row.id).values(payload=forged))
    await community.vote(round_id, "a", (2, 1))
    await relay_all(relayer)
    assert await rejection_reasons(community, "ballot") == ["The ledger does not accept the signature as the wallet's."]
    told = (await receipts.voter_receipts(community.engine, round_id, voter(1)))["a"]
    assert (told.state, told.signed, told.standing) == ("rejected", True, 0)
    assert await ledger.tally(FIRST) == Tally(1, 0)


async def test_the_relayer_cannot_vote_for_a_linked_member(
    community: Community, ledger: Ledger, relayer: Relayer
) -> None:
    """Neither in a seat that was claimed nor in a new one; the member reads why, and others' votes arrive."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", (1, 1))
    await community.link(ledger, 1, ANA)
    await community.link(ledger, 2, BEN)
    await relay_all(relayer)
    await community.vote(round_id, "a", (1, 2), (2, 1), (3, 1))
    await relay_all(relayer)
    assert await ballots(ledger, 1, 3) == [1, 0, 1]
    said = "This member votes with a wallet: only what that wallet signs is recorded."
    assert await rejection_reasons(community, "vote") == [None, said, said, None]


async def test_a_ballot_that_somebody_else_sent_is_final_all_the_same(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """With their transaction in the receipt; what the wallet signed before that one is refused."""
    round_id = await begin_round(community, relayer)
    await community.link(ledger, 1, ANA)
    await relay_all(relayer)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 1})
    data = await community.ballot(ledger, round_id, 1, ANA, {"a": 2})
    tx = await send_by_hand(ledger, chain, data)
    await relay_all(relayer)
    assert await rejection_reasons(community, "ballot") == [
        "The wallet has signed something newer, which the ledger has already.",
        None,
    ]
    mine = (await receipts.voter_receipts(community.engine, round_id, voter(1)))["a"]
    assert (mine.choice, mine.state, mine.tx) == (2, "final", tx)
    assert await community.sent("ballot") == []
    await check(community, ledger, chain)


async def test_a_ballot_that_comes_too_late_is_refused_and_the_round_ends(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """Signed ballots have no grace; what counted before still does."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", (1, 1))
    await community.link(ledger, 1, ANA)
    await relay_all(relayer)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 2}, deadline=now_ms() // 1000 - 3600)
    await community.close(round_id)
    await relay_all(relayer)
    assert await rejection_reasons(community, "ballot") == ["It came to the ledger later than it was signed for."]
    mine = (await receipts.voter_receipts(community.engine, round_id, voter(1)))["a"]
    assert (mine.choice, mine.state, mine.standing) == (2, "rejected", 1)
    assert (await ledger.round_info(1)).winner == FIRST
    async with community.engine.begin() as connection:  # as the bot does
        await connection.exec_driver_sql("UPDATE votes SET choice = 1")
    await check(community, ledger, chain)


async def test_everything_at_once_goes_in_its_order(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """Linked, signed, unlinked, linked to another wallet, signed again, before the relayer sent any of it."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", (1, 1))
    await community.link(ledger, 1, ANA)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 2})
    await community.unlink(ledger, 1, ANA)
    await community.link(ledger, 1, BEN)
    await community.ballot(ledger, round_id, 1, BEN, {"a": 0})
    await community.link(ledger, 2, EMI)
    await community.ballot(ledger, round_id, 2, EMI, {"a": 2})
    await relay_all(relayer)
    assert set(await community.states()) == {"final"}
    assert await ballots(ledger, 1, 2) == [0, 2]
    assert await ledger.wallet_of(await ledger.voter_index(from_hex(voter(1)))) == BEN.address
    await check(community, ledger, chain)


async def test_a_round_waits_for_its_ballots_and_is_not_scanned_from_the_chains_beginning(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """A seat that we forgot is looked up in the log, from the round's opening on."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", (1, 1))
    await relay_all(relayer)
    async with community.engine.begin() as connection:
        await connection.execute(delete(seats))
    await community.link(ledger, 1, ANA)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 2})
    await community.close(round_id)
    await relay_all(relayer)
    assert await ballots(ledger, 1, 1) == [2]
    assert (await ledger.round_info(1)).final
    [opened] = await community.sent("round")
    assert await opened_in(community.engine, round_id) == opened.block_number > 1
    assert await ledger.seats_of(1, opened.block_number) == {1: 0}
    assert await ledger.seats_of(1, await ledger.node.block_number() + 1) == {}
    assert await ledger.finalized_tx(1, opened.block_number) == await ledger.finalized_tx(1)
    await check(community, ledger, chain)


async def test_a_closed_round_is_not_claimed_in(community: Community, ledger: Ledger, relayer: Relayer) -> None:
    """A link costs one transaction, whatever its member voted on in years before."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", (1, 1))
    await relay_all(relayer)
    async with community.engine.begin() as connection:
        await connection.execute(update(rounds).values(status="closed"))
    await community.link(ledger, 1, ANA)
    await relay_all(relayer)
    assert len(await community.sent("link")) == 1
    assert await community.sent("claim") == []


@pytest.mark.parametrize("kind", ["link", "claim", "ballot", "unlink"])
async def test_a_relayer_that_knows_nothing_any_more_repeats_nothing(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any, tmp_path: Path, kind: str
) -> None:
    """Entries go back to pending, as after a crash at the worst moment: the ledger is asked, and has them already."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", (1, 1))
    await community.link(ledger, 1, ANA)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 2})
    if kind == "unlink":
        await community.unlink(ledger, 1, ANA)
    await relay_all(relayer)
    nonce = await ledger.node.nonce(chain.signer.address)
    kinds = {"ballot": ("ballot", "signed"), "claim": ()}.get(kind, (kind,))
    async with community.engine.begin() as connection:
        again = update(entries).where(entries.c.kind.in_(kinds))
        await connection.execute(again.values(state="pending", transaction_id=None))
        await connection.execute(update(seats).values(claimed=False))
    await forget_lease(community.engine)
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    assert await community.states() == {"final": 6 + (kind == "unlink")}
    assert await ledger.node.nonce(chain.signer.address) == nonce
    await check(community, ledger, chain)


@pytest.mark.parametrize(
    ("kind", "step"),
    [("link", "after send"), ("claim", "after sign"), ("claim", "before final"), ("ballot", "after send"),
     ("ballot", "before final"), ("unlink", "after sign")],
)  # fmt: skip
async def test_killed_with_a_wallets_transaction_in_hand(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any, kind: str, step: str
) -> None:
    """SIGKILL: its successor sends the same bytes, or drafts anew; each goes to the chain once."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", (1, 1))
    await relay_all(relayer)
    await forget_lease(community.engine)
    await community.link(ledger, 1, ANA)
    await community.ballot(ledger, round_id, 1, ANA, {"a": 2})
    await community.unlink(ledger, 1, ANA)
    killed = await end(start(options(community.engine, ledger, chain, step=step, kind=kind)))
    assert killed[0] == -signal.SIGKILL, killed
    stored = {row.nonce: bytes(row.raw) for row in await community.sent(kind)}
    await community.close(round_id)
    ended = await end(start(options(community.engine, ledger, chain)))
    assert ended[0] == 0, ended
    assert await community.states() == {"final": 8}
    rows = [row for one in ("link", "claim", "ballot", "unlink") for row in await community.sent(one)]
    assert [row.kind for row in rows] == ["link", "claim", "ballot", "unlink"]
    assert {row.nonce: bytes(row.raw) for row in rows if row.nonce in stored} == stored
    assert await ballots(ledger, 1, 1) == [2]
    await check(community, ledger, chain)
