"""When a transaction stands for good: the chain's word is taken where there is one, and only there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.relayer.finality import Finality
from contracts.rpc.endpoints import Patience
from contracts.rpc.node import ChainUnreachableError, Node, NodeRefusedError
from tests.builders.fault_proxy import FaultProxy

ASKED = "eth_getBlockByNumber"


@pytest.fixture
async def proxy(chain: Any, ledger: Any) -> AsyncIterator[FaultProxy]:
    """A node of a chain with some blocks."""
    async with FaultProxy(chain.url) as made:
        yield made


@pytest.fixture
async def node(proxy: FaultProxy) -> AsyncIterator[Node]:
    made = Node(proxy.url, timeout_s=2, patience=Patience(tries=1))
    yield made
    await made.close()


async def test_the_chains_word_counts_where_it_gives_one(node: Node) -> None:
    """On a chain that says what is safe, that decides; on one for development, and without a tag, depth does."""
    said, developing, deep = Finality(node, "safe", 3), Finality(node, "safe", 3), Finality(node, None, 3)
    await said.look(1)
    await developing.look(31_431)
    await deep.look(1)
    assert (said.tag, developing.tag, deep.tag) == ("safe", None, None)
    head = await node.block_number()
    assert (await said.upto(), await developing.upto(), await deep.upto()) == (head, head - 2, head - 2)


@pytest.mark.parametrize(
    ("code", "message"), [(-32000, "safe block not found"), (-32602, "invalid block tag"), (-39001, "Unknown block")]
)
async def test_where_it_gives_none_depth_counts(proxy: FaultProxy, node: Node, code: int, message: str) -> None:
    """Nodes say so in different words; once they know the tag, it counts."""
    finality = Finality(node, "finalized", 2)
    proxy.add("rpc_error", method=ASKED, code=code, message=message)
    await finality.look(1)
    assert finality.tag is None
    await finality.look(1)
    assert finality.tag == "finalized"


async def test_a_node_that_fails_has_not_said_that_there_is_none(proxy: FaultProxy, node: Node) -> None:
    """A moment's failure must not make us content with less."""
    finality = Finality(node, "safe", 1)
    await finality.look(1)
    proxy.add("http_error", method=ASKED)
    with pytest.raises(ChainUnreachableError):
        await finality.look(1)
    proxy.add("rpc_error", method=ASKED, code=-32603, message="internal error")
    with pytest.raises(NodeRefusedError):
        await finality.look(1)
    proxy.add("rpc_error", method=ASKED, code=-32005, message="limit exceeded")
    with pytest.raises(ChainUnreachableError):
        await finality.look(1)
    assert finality.tag == "safe"


async def test_a_block_stands_by_its_hash(node: Node) -> None:
    """The chain's own block of that number, and no other; a number that there is not yet proves nothing."""
    finality = Finality(node, None, 1)
    head = await node.block_number()
    known = await finality.block_hash(head)
    assert known is not None
    assert await finality.stands(head, known)
    assert not await finality.stands(head, "0x" + "00" * 32)
    assert await finality.block_hash(head + 1000) is None
