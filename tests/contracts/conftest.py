"""A bench for the contract alone (real EVM, our own clock), and a real embedded chain process over HTTP."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from migrations.database import open_database, upgrade_database
from tests.builders.chain_process import ChainProcess
from tests.builders.ledger_bench import Bench
from tests.builders.relayed_community import Community


@pytest.fixture
def community(store: AsyncEngine) -> Community:
    return Community(store)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench"))
    made.blocks.close()
    return made


@pytest.fixture
def bench(deployed: Bench, tmp_path: Path) -> Iterator[Bench]:
    made = deployed.copy(tmp_path)
    yield made
    made.blocks.close()


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainProcess]:
    """One chain for all tests that only add to it: each deploys its own ledger."""
    made = ChainProcess(tmp_path_factory.mktemp("chain"))
    yield made
    made.stop()


@pytest.fixture
def start_chain(tmp_path: Path) -> Iterator[Callable[[], ChainProcess]]:
    """A chain of the test's own, which it may kill and start again."""
    made: list[ChainProcess] = []

    def start() -> ChainProcess:
        made.append(ChainProcess(tmp_path / f"chain{len(made)}"))
        return made[-1]

    yield start
    for process in made:
        process.stop()


@pytest.fixture
async def ledger(chain: ChainProcess, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A ledger of the test's own on the shared chain; its relayer is the chain's own account."""
    deployment = await deploy(chain.url, chain.signer, tmp_path / "ledger.json")
    async with Ledger(chain.url, deployment.address) as made:
        yield made


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with today's schema, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("schema") / "flock.db"
    asyncio.run(upgrade_database(f"sqlite:///{path}"))
    return path


@pytest.fixture
async def store(migrated: Path, sqlite_url: str) -> AsyncIterator[AsyncEngine]:
    """An open SQLite database, for what does not depend on the kind."""
    shutil.copy(migrated, make_url(sqlite_url).database or "")
    engine = open_database(sqlite_url)
    yield engine
    await engine.dispose()
