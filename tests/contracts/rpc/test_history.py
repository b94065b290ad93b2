"""Old blocks and transactions, many in a request; nodes forget transactions before blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contracts.rpc.history import blocks_of, transactions_of
from contracts.rpc.node import ChainUnreachableError, Node, NodeRefusedError
from tests.builders.ledger_bench import Bench
from tests.builders.lying_node import LyingNode


@pytest.fixture
async def lying(bench: Bench) -> AsyncIterator[LyingNode]:
    async with LyingNode(bench) as made:
        yield made


@pytest.fixture
async def node(lying: LyingNode) -> AsyncIterator[Node]:
    made = Node(lying.url)
    yield made
    await made.close()


async def test_blocks_have_times_and_transactions(bench: Bench, node: Node) -> None:
    """Those that are not there are left out."""
    number = int(bench.deployed["blockNumber"], 16)
    blocks = await blocks_of(node, [number, number, 10_000])
    assert list(blocks) == [number]
    assert blocks[number].timestamp == bench.now
    assert blocks[number].transactions == {bench.deployed["transactionHash"]}


@pytest.mark.parametrize("forgets", [False, True])
async def test_transactions_are_found_by_hash_or_in_their_block(
    bench: Bench, lying: LyingNode, node: Node, forgets: bool
) -> None:
    """A creation has no receiver; what nobody has is left out."""
    if forgets:
        lying.answers["eth_getTransactionByHash"] = lambda _: None
    tx, block = bench.deployed["transactionHash"], int(bench.deployed["blockNumber"], 16)
    sent = await transactions_of(node, {tx: block, "0x" + "12" * 32: block})
    assert list(sent) == [tx]
    assert (sent[tx].to, sent[tx].nonce, sent[tx].sender) == (None, 3, bench.owner.address)
    assert lying.seen["eth_getBlockByNumber"] == 1


async def test_what_cannot_be_read_is_a_sentence(bench: Bench, lying: LyingNode, node: Node) -> None:
    """Also another transaction than was asked for."""
    tx = bench.deployed["transactionHash"]
    for answer in ({}, {"hash": "0x12"}, 5):
        lying.answers["eth_getTransactionByHash"] = lambda _, answer=answer: answer  # type: ignore[misc]  # bound now
        with pytest.raises(ChainUnreachableError, match="cannot be read"):
            await transactions_of(node, {tx: 1})


async def test_many_reads_are_few_requests(lying: LyingNode, node: Node) -> None:
    """Fifty in one; one by one where the node takes no batches, which is asked once only."""
    asked = [("eth_getBlockByNumber", (hex(number), False)) for number in range(250)]
    answers = await node.ask_many(asked)
    assert lying.seen[""] == 5
    lying.batches = False
    assert await node.ask_many(asked) == answers
    assert 250 < lying.seen[""] - 5 <= 250 + 3  # a refusal may pass: it is asked for three times
    assert [answer is None for answer in answers[:5]] == [False] * 5


async def test_a_refusal_among_many_is_raised(lying: LyingNode, node: Node) -> None:
    """The others' answers are worth nothing without it."""
    with pytest.raises(NodeRefusedError, match="does not exist"):
        await node.ask_many([("eth_chainId", ()), ("eth_nothing", ())])
