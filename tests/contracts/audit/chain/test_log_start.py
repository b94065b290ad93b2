"""An audit reads a log from its beginning, finds it by itself, and knows when it was led past it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.audit.audit import audit
from contracts.audit.chain.log_start import LateStartError, first_block
from contracts.deploy import Deployment, deploy
from contracts.ledger.client import Event, Ledger
from contracts.rpc.node import Node


@pytest.fixture
async def deployed(chain: Any, tmp_path: Path) -> Deployment:
    """A ledger that is some blocks younger than its chain, with a younger neighbour."""
    await deploy(chain.url, chain.signer, tmp_path / "older.json")
    made = await deploy(chain.url, chain.signer, tmp_path / "ledger.json")
    await deploy(chain.url, chain.signer, tmp_path / "younger.json")
    return made


async def test_the_first_block_is_found_by_halves(deployed: Deployment, chain: Any) -> None:
    """It is that of the deployment, in as many questions as the last block has bits."""
    asked: list[int | str] = []

    class Counted(Node):
        async def code(self, address: str, at: int | str = "latest") -> bytes:
            asked.append(at)
            return await super().code(address, at)

    node = Counted(chain.url)
    last = await node.block_number()
    assert await first_block(node, deployed.address, last) == deployed.block
    assert len(asked) <= last.bit_length() + 1
    await node.close()


async def test_a_log_is_read_from_the_deployment_on(deployed: Deployment, chain: Any) -> None:
    """Looked for, named, or from before it: the same is found, and how far it was read is told."""
    told: list[tuple[int, int]] = []
    for since, first in ((None, deployed.block), (deployed.block, deployed.block), (0, 0)):
        report = await audit(chain.url, deployed.address, since=since, progress=lambda *at: told.append(at))
        assert report.ok, report.problems
        assert (report.since, report.notes) == (first, [])
        assert told[-1] == (report.block, report.block)


async def test_a_start_after_the_beginning_is_no_fraud(deployed: Deployment, chain: Any) -> None:
    """It is said what to give instead; no digest is compared that could not match."""
    for late in (deployed.block + 1, 10**9):
        with pytest.raises(LateStartError, match=f"older than block {late}.*--since"):
            await audit(chain.url, deployed.address, since=late)


async def test_a_node_that_shows_nothing_of_old_blocks_is_read_from_the_first(
    deployed: Deployment, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some answer without code where they have forgotten: what is found so lies after the ledger's first event."""
    honest = Node.code

    async def forgetful(self: Node, address: str, at: int | str = "latest") -> bytes:
        return b"" if at in range(deployed.block + 1) else await honest(self, address, at)

    monkeypatch.setattr(Node, "code", forgetful)
    report = await audit(chain.url, deployed.address)
    assert report.ok, report.problems
    assert report.since == 0
    assert report.notes == [
        f"The ledger is older than block {deployed.block + 1}, where the node first shows it: read from block 0."
    ]


async def test_a_node_that_hides_the_beginning_is_found(
    deployed: Deployment, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From block 0 on there is no earlier start to be had: then the log itself is not whole."""
    honest = Ledger.events

    async def hiding(self: Ledger, *args: Any, **options: Any) -> AsyncIterator[Event]:
        async for event in honest(self, *args, **options):
            if event.name != "OwnershipTransferred":
                yield event

    monkeypatch.setattr(Ledger, "events", hiding)
    for since in (None, 0):
        report = await audit(chain.url, deployed.address, since=since)
        assert report.problems[0] == "The log does not begin with the ledger's deployment: the node hides a part of it."
        assert {"log", "creation"} <= report.noticed_by.keys()
