"""A real chain that reorganises, and a ledger on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from contracts.rpc.endpoints import Patience
from tests.builders.anvil import Anvil
from tests.builders.fault_proxy import FaultProxy


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


@pytest.fixture
async def nodes(chain: Any) -> AsyncIterator[list[FaultProxy]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FaultProxy(chain.url)) for _ in range(2)]


@pytest.fixture
async def through(ledger: Ledger, nodes: list[FaultProxy]) -> AsyncIterator[Ledger]:
    """The ledger by way of both nodes, looked at before each request."""
    async with Ledger(", ".join(node.url for node in nodes), ledger.address, timeout_s=2) as made:
        made.node._provider._patience = Patience(pause_s=0.01, rest_s=0.1, look_every_s=0.0)
        yield made
