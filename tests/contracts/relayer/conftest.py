"""A real chain that reorganises, and a ledger on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from tests.builders.anvil import Anvil


@pytest.fixture(scope="module")
def node_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    made = Anvil(tmp_path_factory.mktemp("anvil") / "state.json")
    yield made
    made.stop()


@pytest.fixture
async def anvil(node_process: Anvil) -> AsyncIterator[Anvil]:
    """The chain in order, and an account that is only this test's."""
    await node_process.fresh()
    yield node_process
    await node_process.fresh()


@pytest.fixture
async def anvil_ledger(anvil: Anvil, tmp_path: Path) -> AsyncIterator[Ledger]:
    deployment = await deploy(anvil.url, anvil.signer, tmp_path / "ledger.json")
    await anvil.mine(8)  # no reorganisation of these tests reaches the deployment
    async with Ledger(anvil.url, deployment.address) as made:
        yield made
