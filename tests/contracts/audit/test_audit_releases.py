"""A release from its data set to its commitment on a real ledger, and what an audit of it says afterwards."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.audit.chain import storage
from contracts.audit.texts import public_texts, read_folder, write_folder
from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from contracts.manifests import ReleaseManifest, base_model_hash, document_hash
from contracts.outbox.documents import all_documents
from contracts.relayer.relayer import Relayer
from migrations.database import open_database
from migrations.schema import battles, ledger_documents
from migrations.schema import outbox as entries
from tests.builders.battles import PROMPTS, Tuners
from tests.builders.ledger_log import first_registration
from tests.builders.relayed_community import PEPPER, QUICK, relay_all

BASE = base_model_hash("tiny@1")
TEXT = first_registration()


async def release(engine: AsyncEngine, ledger: Ledger, chain: Any) -> ReleaseManifest:
    tuners, relayer = Tuners(engine), Relayer(engine, ledger, chain.signer, QUICK)
    await tuners.dataset()
    await relay_all(relayer)
    round_id = await tuners.battle_round(text=TEXT)
    for place, prompt in enumerate(PROMPTS):
        await tuners.battle(round_id, f"b{place}", prompt, live=BASE, swapped=place == 1)
        await tuners.choose(round_id, f"b{place}", (1, 1 + place), (2, 1 + place), (3, 3))
    await relay_all(relayer)
    manifest = await tuners.manifest(round_id, registration=document_hash(TEXT))
    await tuners.release(manifest)
    await tuners.close(round_id)
    await relay_all(relayer)
    return manifest


@pytest.fixture(scope="module")
def game(chain: Any, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, ReleaseManifest]:
    """The address of a ledger with a release, the database that belongs to it, and the release's manifest."""
    directory = tmp_path_factory.mktemp("game")
    shutil.copy(migrated, directory / "flock.db")

    async def make() -> tuple[str, ReleaseManifest]:
        deployment = await deploy(chain.url, chain.signer, directory / "ledger.json")
        engine = open_database(f"sqlite:///{directory}/flock.db")
        async with Ledger(chain.url, deployment.address) as ledger:
            manifest = await release(engine, ledger, chain)
        await engine.dispose()
        return deployment.address, manifest

    address, manifest = asyncio.run(make())
    return address, directory / "flock.db", manifest


@pytest.fixture
async def released(game: tuple[str, Path, ReleaseManifest], tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A copy of the game's database, to be tampered with."""
    shutil.copy(game[1], tmp_path / "flock.db")
    engine = open_database(f"sqlite:///{tmp_path}/flock.db")
    yield engine
    await engine.dispose()


async def test_an_honest_release_passes(
    game: tuple[str, Path, ReleaseManifest], released: AsyncEngine, chain: Any, tmp_path: Path
) -> None:
    """For the operator by the database, for anybody by the texts that were handed on; without them a note says so."""
    report = await audit(chain.url, game[0], database=released, pepper=PEPPER)
    assert report.ok, report.problems
    assert report.releases_checked
    assert [(old.number, old.kind, old.root) for old in report.commitments][1] == (2, "release", game[2].root)
    [attempt] = report.attempts
    assert (attempt.for_candidate, attempt.for_live, attempt.ties, attempt.voters) == (4, 0, 2, 3)
    assert (attempt.release, attempt.final) == (2, True)
    assert [(battle.a, battle.b, battle.ties, battle.outcome) for battle in report.battles] == [
        (2, 0, 1, 1),
        (0, 2, 1, 2),
    ]
    async with released.connect() as connection:
        texts = public_texts(await all_documents(connection))
    assert len(texts) == 5
    write_folder(tmp_path / "texts", texts)
    stranger = await audit(chain.url, game[0], documents=read_folder(tmp_path / "texts"))
    assert stranger.ok, stranger.problems
    assert stranger.attempts == report.attempts
    alone = await audit(chain.url, game[0])
    assert alone.ok
    assert "1 releases and 2 battles" in alone.notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (TEXT, "Release 2 has no registration"),
        (b"a release", "Nobody shows the description of release 2"),
    ],
)
async def test_a_text_that_was_lost_or_changed_is_found(
    game: tuple[str, Path, ReleaseManifest], released: AsyncEngine, chain: Any, content: bytes, words: str
) -> None:
    """A changed text has another hash: it is not the one that the ledger names."""
    async with released.begin() as connection:
        await connection.execute(delete(ledger_documents).where(ledger_documents.c.hash == document_hash(content)))
        await connection.execute(ledger_documents.insert().values(hash=document_hash(b"x"), content=content + b" "))
    report = await audit(chain.url, game[0], database=released)
    assert not report.ok
    assert any(words in problem for problem in report.problems), report.problems


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (update(entries).where(entries.c.choice == 3).values(choice=1), "chose 1 on battle 102"),
        (update(battles).where(battles.c.id == "b0").values(chain_key="77" * 32), "Battle b0 claims to be battle"),
    ],
)
async def test_a_battle_that_was_tampered_with_in_the_database_is_found(
    game: tuple[str, Path, ReleaseManifest], released: AsyncEngine, chain: Any, change: Any, words: str
) -> None:
    """Its choices are compared voter by voter, as those about videos are."""
    async with released.begin() as connection:
        await connection.execute(change)
    report = await audit(chain.url, game[0], database=released)
    assert any(words in problem for problem in report.problems), report.problems


async def test_a_contract_that_knows_another_commitment_is_found(
    game: tuple[str, Path, ReleaseManifest], chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log's commitments are looked up in the contract."""

    honest = storage.read_many

    async def other(ledger: Ledger, getter: str, questions: Any, at: int) -> list[Any]:
        answers = await honest(ledger, getter, questions, at)
        return [9] * len(answers) if getter == "commitment_of" else answers

    monkeypatch.setattr(storage, "read_many", other)
    problems = (await audit(chain.url, game[0])).problems
    assert "The contract knows commitment 1 as commitment 9." in problems
