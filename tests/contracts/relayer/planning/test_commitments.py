"""Commitments on their way to the ledger: each after what it rests upon, each once, whoever made it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger, from_hex
from contracts.manifests import document_hash
from contracts.outbox import documents
from contracts.outbox.commitments import commitment_status
from contracts.relayer.relayer import Relayer
from migrations.schema import outbox as entries
from migrations.states.ledger import CommitmentKind
from tests.builders.battles import DATASET, Tuners, registration
from tests.builders.relayed_community import QUICK, rejection_reasons, relay_all, send_by_hand


@pytest.fixture
def tuners(store: AsyncEngine) -> Tuners:
    return Tuners(store)


@pytest.fixture
def relayer(tuners: Tuners, ledger: Ledger, chain: Any) -> Relayer:
    return Relayer(tuners.engine, ledger, chain.signer, QUICK)


async def committed(ledger: Ledger) -> list[dict[str, Any]]:
    return [event.args async for event in ledger.events(0, topics=ledger.any_of("Committed"))]


async def test_a_release_waits_for_all_that_it_rests_upon(tuners: Tuners, ledger: Ledger, relayer: Relayer) -> None:
    """Data set, result and reveals stand before it; number and transaction are then told, and its texts are kept."""
    await tuners.dataset()
    round_id = await tuners.battle_round()
    await tuners.battle(round_id, "b1")
    await tuners.choose(round_id, "b1", (1, 1))
    await relay_all(relayer)
    manifest = await tuners.manifest(round_id)
    assert await tuners.release(manifest) == await tuners.release(manifest)
    await relay_all(relayer)
    assert await tuners.states("commitment") == {"final": 1, "pending": 1}
    waiting = await commitment_status(tuners.engine, CommitmentKind.RELEASE, manifest.root)
    assert waiting is not None
    assert (waiting.state, waiting.number, waiting.tx) == ("pending", None, None)
    await tuners.close(round_id)
    await relay_all(relayer)
    status = await commitment_status(tuners.engine, CommitmentKind.RELEASE, manifest.root)
    assert status is not None
    assert status.on_ledger
    assert (status.number, status.tx) == (2, (await tuners.sent("commitment"))[1].hashes[-1])
    names = [event.name async for event in ledger.events(0)]
    assert names[-1] == "Committed"
    assert names.index("RoundFinalized") < names.index("BattleRevealed")
    first, second = await committed(ledger)
    assert (first["kind"], first["root"].hex(), first["meta"].hex()) == (1, DATASET, document_hash(b"data"))
    assert (second["kind"], second["root"].hex(), second["parent"]) == (2, manifest.root, 0)
    async with tuners.engine.connect() as connection:
        assert await documents.document(connection, manifest.root) == manifest.to_bytes()
        assert await documents.document(connection, second["meta"].hex()) == b"a release"
        assert await documents.document(connection, document_hash(registration())) == registration()


async def test_what_continues_another_names_its_number(tuners: Tuners, ledger: Ledger, relayer: Relayer) -> None:
    """The parent goes first, whatever came to the outbox between; an unknown one is refused at once."""
    child = document_hash(b"more data")
    await tuners.dataset()
    await tuners.dataset(document_hash(b"other data"))
    await tuners.dataset(child, DATASET)
    with pytest.raises(LookupError, match="was not entered"):
        await tuners.dataset(document_hash(b"lost"), document_hash(b"nowhere"))
    with pytest.raises(ValueError, match="another description or parent"):
        await tuners.dataset(child)
    await relay_all(relayer)
    assert [(args["root"].hex() == child, args["parent"]) for args in await committed(ledger)] == [
        (False, 0), (False, 0), (True, 1),
    ]  # fmt: skip


async def test_a_commitment_by_another_process_counts_as_done(
    tuners: Tuners, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """Its number is read, and nothing is sent; what continues it names that number."""
    await send_by_hand(ledger, chain, calls.commit(1, b"x" * 32, 0, bytes(32)))
    await send_by_hand(ledger, chain, calls.commit(1, from_hex(DATASET), 0, bytes(32)))
    await tuners.dataset()
    await tuners.dataset(document_hash(b"more"), DATASET)
    await relay_all(relayer)
    status = await commitment_status(tuners.engine, CommitmentKind.DATASET, DATASET)
    assert status is not None
    assert (status.state, status.number) == ("final", 2)
    assert len(await tuners.sent("commitment")) == 1
    assert (await committed(ledger))[-1]["parent"] == 2


async def test_a_release_whose_battles_are_not_whole_is_rejected_and_holds_up_nobody(
    tuners: Tuners, ledger: Ledger, relayer: Relayer
) -> None:
    """A reveal that the ledger refused leaves nobody to tell which model won."""
    await tuners.dataset()
    round_id = await tuners.battle_round()
    await tuners.battle(round_id, "b1")
    await relay_all(relayer)
    manifest = await tuners.manifest(round_id)
    await tuners.release(manifest)
    async with tuners.engine.begin() as connection:
        row = (await connection.execute(select(entries).where(entries.c.kind == "reveal"))).one()
        changed = {**row.payload, "salt": "77" * 32}
        await connection.execute(update(entries).where(entries.c.id == row.id).values(payload=changed))
    await tuners.close(round_id)
    await tuners.dataset(document_hash(b"more"), DATASET)
    await relay_all(relayer)
    reasons = await rejection_reasons(tuners, "commitment")
    assert reasons == [
        None,
        "Its battle round is not whole on the ledger: the round, a battle or a reveal was rejected.",
        None,
    ]
    assert [args["kind"] for args in await committed(ledger)] == [1, 1]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dataset_number": 7}, ValueError, "number 1 on the ledger, not 7"),
        ({"dataset": "77" * 32}, LookupError, "data set 77777777… was not entered"),
        ({"parent": "77" * 32}, LookupError, "release 77777777… was not entered"),
        ({"registration": "77" * 32}, ValueError, "another registration"),
        ({"round_number": 2}, ValueError, "number 1 on the ledger, not 2"),
        ({"round_key": "77" * 32}, LookupError, "battle round was not entered"),
        ({"adapter": "77" * 32}, ValueError, "not about its adapter"),
    ],
)
async def test_a_manifest_that_the_audit_would_refuse_is_not_entered(
    battled: tuple[Tuners, int], change: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Nothing of it reaches the outbox."""
    tuners, round_id = battled
    with pytest.raises(error, match=words):
        await tuners.release(await tuners.manifest(round_id, **change))
    assert await tuners.states("commitment") == {"final": 1}


@pytest.fixture
async def battled(tuners: Tuners) -> tuple[Tuners, int]:
    """A battle round with its data set, as they stand once the relayer was through; no chain is asked."""
    await tuners.dataset()
    round_id = await tuners.battle_round()
    await tuners.battle(round_id, "b1")
    await tuners.suppose_recorded(round_id)
    return tuners, round_id


async def test_a_battle_without_its_reveal_makes_no_release(battled: tuple[Tuners, int]) -> None:
    """Nor does a round without battles."""
    tuners, round_id = battled
    manifest = await tuners.manifest(round_id)
    async with tuners.engine.begin() as connection:
        await connection.execute(delete(entries).where(entries.c.kind == "reveal"))
    with pytest.raises(ValueError, match="has no reveal"):
        await tuners.release(manifest)
    empty = await tuners.battle_round(2)
    await tuners.suppose_recorded(empty)
    with pytest.raises(ValueError, match="holds no battle"):
        await tuners.release(await tuners.manifest(empty))


async def test_two_releases_of_one_root_are_one(battled: tuple[Tuners, int]) -> None:
    """A workflow that runs again enters nothing twice; another description of the same release is refused."""
    tuners, round_id = battled
    manifest = await tuners.manifest(round_id)
    assert await tuners.release(manifest) == await tuners.release(manifest)
    with pytest.raises(ValueError, match="another description"):
        await tuners.release(manifest, b"something else")
    assert await tuners.states("commitment") == {"final": 1, "pending": 1}


async def test_a_battle_round_waits_for_its_data_set(tuners: Tuners) -> None:
    """The data are fixed before the rule is: the caller hears of it before anything is entered."""
    with pytest.raises(LookupError, match="was not entered"):
        await tuners.battle_round(dataset=DATASET)
    await tuners.dataset()
    with pytest.raises(ValueError, match="not on the ledger yet"):
        await tuners.battle_round(dataset=DATASET)
    assert await tuners.states() == {"pending": 1}
    async with tuners.engine.begin() as connection:
        await connection.execute(update(entries).values(state="final"))
    await tuners.battle_round(dataset=DATASET)
    assert await tuners.states("round") == {"pending": 1}
