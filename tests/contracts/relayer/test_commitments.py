"""A release survives what kills relayers and takes back blocks: each commitment and battle stands once, in order."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.ledger.client import BattleTally, Ledger
from contracts.manifests import ReleaseManifest, base_model_hash, document_hash
from contracts.outbox.battles import battle_status
from contracts.outbox.commitments import commitment_status
from contracts.relayer.relayer import Relayer
from migrations.states.ledger import CommitmentKind
from tests.builders.anvil import Anvil, needs_anvil
from tests.builders.battles import DATASET, PROMPTS, Tuners
from tests.builders.ledger_log import first_registration
from tests.builders.relayed_community import (
    FIRST,
    PATIENT,
    PEPPER,
    QUICK,
    forget_lease,
    relay_all,
    relay_on_anvil,
    send_by_hand,
)
from tests.builders.relayer_process import end, options, start

BASE = base_model_hash("tiny@1")
TEXT = first_registration()


@pytest.fixture
def tuners(store: AsyncEngine) -> Tuners:
    return Tuners(store)


async def fight(tuners: Tuners) -> int:
    """A battle round and the votes in it, once its data set is on the ledger."""
    round_id = await tuners.battle_round(text=TEXT, dataset=DATASET)
    for place, prompt in enumerate(PROMPTS):
        await tuners.battle(round_id, f"b{place}", prompt, live=BASE)
        await tuners.choose(round_id, f"b{place}", (1, 1), (2, 3))
    return round_id


async def go_on(tuners: Tuners, round_id: int) -> ReleaseManifest:
    """The release is entered, and its round closed."""
    manifest = await tuners.manifest(round_id, registration=document_hash(TEXT))
    await tuners.release(manifest)
    await tuners.close(round_id)
    return manifest


async def check(tuners: Tuners, ledger: Ledger, url: str, manifest: ReleaseManifest) -> None:
    """Everything is on the ledger once, with the numbers that we wrote down, and the audit agrees."""
    assert set(await tuners.states()) <= {"final", "superseded"}
    release = await commitment_status(tuners.engine, CommitmentKind.RELEASE, manifest.root)
    dataset = await commitment_status(tuners.engine, CommitmentKind.DATASET, DATASET)
    assert release is not None
    assert dataset is not None
    assert (dataset.number, release.number) == (1, 2)
    names = [event.name async for event in ledger.events(0)]
    assert names.count("Committed") == names.count("BattleAdded") == names.count("BattleRevealed") == 2
    assert [await ledger.battle_tally(FIRST + place) for place in (0, 1)] == [BattleTally(1, 0, 1)] * 2
    numbers = [await battle_status(tuners.engine, f"b{place}") for place in (0, 1)]
    assert sorted(status.number for status in numbers if status and status.number) == [FIRST, FIRST + 1]
    report = await audit(url, ledger.address, database=tuners.engine, pepper=PEPPER)
    assert report.ok, report.problems
    assert [each.release for each in report.attempts] == [2]


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("battle", "after persist"), ("battle", "after receipt"), ("reveal", "after send"),
        ("commitment", "before sign"), ("commitment", "after persist"), ("commitment", "after send"),
        ("commitment", "before final"),
    ],
)  # fmt: skip
async def test_a_relayer_that_is_killed_commits_to_nothing_twice(
    tuners: Tuners, ledger: Ledger, chain: Any, kind: str, step: str
) -> None:
    """SIGKILL at a step of the first battle, reveal or commitment: the successor sends the same bytes, or drafts."""
    relayer = Relayer(tuners.engine, ledger, chain.signer, QUICK)
    await tuners.dataset()
    if kind != "commitment":
        await relay_all(relayer)
        round_id = await fight(tuners)
    if kind == "reveal":
        await relay_all(relayer)
        manifest = await go_on(tuners, round_id)
    await forget_lease(tuners.engine)
    killed = await end(start(options(tuners.engine, ledger, chain, step=step, kind=kind)), 300)
    assert killed[0] == -signal.SIGKILL, killed
    stored = {row.nonce: bytes(row.raw) for row in await tuners.sent(kind)}
    assert bool(stored) is (step != "before sign")
    await forget_lease(tuners.engine)
    relayer = Relayer(tuners.engine, ledger, chain.signer, QUICK)  # the one before believes that it holds the lease
    if kind == "commitment":
        await relay_all(relayer)
        round_id = await fight(tuners)
    if kind != "reveal":
        await relay_all(relayer)
        manifest = await go_on(tuners, round_id)
    await relay_all(relayer)
    await check(tuners, ledger, chain.url, manifest)
    assert {row.nonce: bytes(row.raw) for row in await tuners.sent(kind) if row.nonce in stored} == stored


@needs_anvil
@pytest.mark.parametrize("depth", [1, 3, 8])
async def test_a_reorganisation_takes_back_what_a_release_rests_upon(
    tuners: Tuners, anvil_ledger: Ledger, anvil: Anvil, depth: int
) -> None:
    """Release, reveals, result and battles may go: the same bytes are sent again, in their order."""
    relayer = Relayer(tuners.engine, anvil_ledger, anvil.signer, PATIENT)
    await tuners.dataset()
    await relay_on_anvil(relayer, anvil)
    round_id = await fight(tuners)
    await relay_on_anvil(relayer, anvil)
    manifest = await go_on(tuners, round_id)
    await relay_on_anvil(relayer, anvil)
    await check(tuners, anvil_ledger, anvil.url, manifest)
    stored = [bytes(row.raw) for row in await tuners.sent("commitment")]
    await anvil.rpc("anvil_reorg", depth, [])
    await relay_on_anvil(relayer, anvil)
    await check(tuners, anvil_ledger, anvil.url, manifest)
    assert [bytes(row.raw) for row in await tuners.sent("commitment")] == stored


@needs_anvil
async def test_a_commitment_whose_nonce_went_to_another_program_is_made_anew(
    tuners: Tuners, anvil_ledger: Ledger, anvil: Anvil
) -> None:
    """Its bytes can never be mined again; the release waits for its data set all the while."""
    relayer = Relayer(tuners.engine, anvil_ledger, anvil.signer, replace(PATIENT, confirmations=1))
    await tuners.dataset()
    await relay_all(relayer)
    await anvil.rpc("anvil_reorg", 1, [])
    await send_by_hand(anvil_ledger, anvil, b"", to="0x" + "99" * 20)
    await relay_on_anvil(relayer, anvil)
    status = await commitment_status(tuners.engine, CommitmentKind.DATASET, DATASET)
    assert status is not None
    assert (status.state, status.number) == ("final", 1)
    assert [row.state for row in await tuners.sent("commitment")] == ["reverted", "final"]
