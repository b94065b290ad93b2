"""Several nodes: reads go on at another one, a sending goes out once, and who cannot be trusted is left out."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from contracts.rpc.endpoints import Patience
from contracts.rpc.node import ChainUnreachableError, Node
from tests.builders.fault_proxy import FaultProxy

QUICK = Patience(pause_s=0.01, rest_s=0.2, look_every_s=0.0)


@pytest.fixture
async def pair(chain: Any) -> AsyncIterator[tuple[FaultProxy, FaultProxy]]:
    """Two nodes of one chain, each with faults of its own."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(FaultProxy(chain.url)) for _ in range(2)]
        yield first, second


@pytest.fixture
async def node(pair: tuple[FaultProxy, FaultProxy]) -> AsyncIterator[Node]:
    """A client of both, which looks at them before each request."""
    made = Node(f"{pair[0].url}, {pair[1].url}", timeout_s=1, patience=QUICK)
    yield made
    await made.close()


async def signed(chain: Any, node: Node) -> bytes:
    transaction = {
        "chainId": 31_431, "nonce": await node.nonce(chain.signer.address), "to": chain.signer.address, "data": b"",
        "value": 0, "gas": 50_000, "maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**6,
    }  # fmt: skip
    return bytes((await chain.signer.sign(transaction)).raw)


# ------------------------------------------------------------------ reads


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "http_error", "status": 429},
        {"fault": "http_error", "status": 502},
        {"fault": "cut"},
        {"fault": "cut", "after": True},
        {"fault": "slow", "seconds": 30},
        {"fault": "rpc_error", "code": -32005, "message": "limit exceeded"},
        {"fault": "rpc_error", "code": -32603, "message": "internal error"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
async def test_a_read_goes_on_at_the_other_node(
    chain: Any, pair: tuple[FaultProxy, FaultProxy], node: Node, fault: dict[str, Any]
) -> None:
    """Whatever one node answers to a read, the other one's answer comes back."""
    pair[0].add(**fault, method="eth_getBalance", rate=1.0)
    assert await node.balance(chain.signer.address) > 0
    assert (pair[0].seen["eth_getBalance"], pair[1].seen["eth_getBalance"]) == (1, 1)


async def test_a_single_node_is_asked_again(chain: Any) -> None:
    """Two failures in a row are got over; a third is told, and the next request begins anew."""
    async with FaultProxy(chain.url) as proxy:
        node = Node(proxy.url, timeout_s=5, patience=QUICK)
        try:
            proxy.add("http_error", method="eth_getBalance", count=2)
            assert await node.balance(chain.signer.address) > 0
            proxy.add("http_error", method="eth_getBalance", count=3)
            with pytest.raises(ChainUnreachableError, match=r"127\.0\.0\.1 does not answer \(HTTP 502\)"):
                await node.balance(chain.signer.address)
            assert await node.balance(chain.signer.address) > 0
            assert proxy.seen["eth_getBalance"] == 7
        finally:
            await node.close()


async def test_when_all_are_away_each_is_named(pair: tuple[FaultProxy, FaultProxy], node: Node) -> None:
    """The sentence tells what is wrong with which node; when they are back, so are the answers."""
    pair[0].add("http_error", rate=1.0)
    pair[1].down = True
    with pytest.raises(ChainUnreachableError, match=r"HTTP 502.*; 127\.0\.0\.1:\d+: \w+"):
        await node.chain_id()
    for proxy in pair:
        proxy.heal()
    assert await node.chain_id() == 31_431


# ------------------------------------------------------------------ sendings


@pytest.mark.parametrize("after", [False, True])
async def test_a_sending_is_never_repeated(
    chain: Any, pair: tuple[FaultProxy, FaultProxy], node: Node, after: bool
) -> None:
    """Its outcome is unknown: whoever sends must first look, at the other node, whether it arrived."""
    raw = await signed(chain, node)
    before = await node.nonce(chain.signer.address)
    pair[0].add("cut", method="eth_sendRawTransaction", after=after)
    with pytest.raises(ChainUnreachableError):
        await node.send(raw)
    assert [proxy.seen["eth_sendRawTransaction"] for proxy in pair] == [1, 0]
    assert await node.nonce(chain.signer.address) == before + after
    assert await node.send(raw) is not after
    assert [proxy.seen["eth_sendRawTransaction"] for proxy in pair] == [1, 1], "and not where it was lost"
    assert await node.nonce(chain.signer.address) == before + 1


# ------------------------------------------------------------------ who is left out


async def test_a_node_of_another_chain_is_left_out(
    pair: tuple[FaultProxy, FaultProxy], node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked nothing but what it is; the operator reads why, and reads it once."""
    node.expect(31_431)
    pair[0].chain_id = 5
    for _ in range(3):
        assert await node.chain_id() == 31_431
    told = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(told) == 1
    assert told[0].endswith("is left out: it serves chain 5, not 31431.")
    pair[1].chain_id = 6
    with pytest.raises(ChainUnreachableError, match=r"None of the chain's nodes .*chain 5.*chain 6"):
        await node.chain_id()


async def test_without_a_chain_of_our_own_the_first_node_says_which(pair: tuple[FaultProxy, FaultProxy]) -> None:
    """What differs from it is left out, even when the first one is away later."""
    node = Node(f"{pair[0].url},{pair[1].url}", timeout_s=1, patience=QUICK)
    pair[1].chain_id = 5
    try:
        assert await node.chain_id() == 31_431
        pair[0].down = True
        with pytest.raises(ChainUnreachableError):
            await node.chain_id()
        pair[1].chain_id = None
        assert await node.chain_id() == 31_431
    finally:
        await node.close()


async def test_a_node_that_is_behind_is_left_out_until_it_has_caught_up(
    chain: Any, pair: tuple[FaultProxy, FaultProxy], node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is a little behind is good enough; one whose latest block is too old is not asked."""
    for _ in range(2):
        await node.send(await signed(chain, node))
    head = await node.block_number()
    pair[0].stale, pair[0].late_s = head - 1, 30
    assert await node.block_number() == head - 1
    pair[0].late_s = 120
    assert await node.block_number() == head > 0
    assert any("seconds behind the others'" in record.getMessage() for record in caplog.records)
    pair[0].heal()
    asked = pair[0].seen["eth_getBlockByNumber"]
    assert await node.block_number() == head
    assert pair[0].seen["eth_getBlockByNumber"] >= asked + 2, "once to look at it, and once because it is well"


async def test_a_web_page_is_no_answer(pair: tuple[FaultProxy, FaultProxy], node: Node) -> None:
    """A provider's error page, with HTTP 200, sends us to the other node; alone, it becomes a sentence."""
    pair[0].web_page = True
    assert await node.chain_id() == 31_431
    alone = Node(pair[0].url, timeout_s=1, patience=QUICK)
    try:
        with pytest.raises(ChainUnreachableError, match="something that is no JSON, HTTP 200"):
            await alone.chain_id()
    finally:
        await alone.close()


# ------------------------------------------------------------------ addresses


async def test_no_secret_of_an_address_is_ever_shown(chain: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the library's own debug lines, nor in reprs, nor in what is raised: keys stand in paths and users."""
    port = chain.url.rsplit(":", 1)[1]
    urls = (
        f"http://user-name:passw0rd@127.0.0.1:{port}/v2/pathkey?k=querykey, http://u2:passw0rd@localhost:1/v3/pathkey"
    )
    with caplog.at_level(logging.DEBUG):
        node = Node(urls, timeout_s=2, patience=QUICK)
        shown = [repr(node), repr(node.web3), repr(node._provider), str(node._provider), str(node._provider._endpoints)]
        try:
            with pytest.raises(ChainUnreachableError) as caught:
                await node.chain_id()  # the chain listens at / alone, and the other one not at all
        finally:
            await node.close()
    shown += [str(caught.value), repr(caught.value), *(record.getMessage() for record in caplog.records)]
    assert caught.value.__cause__ is None
    for secret in ("pathkey", "querykey", "passw0rd", "user-name", "u2:"):
        assert not any(secret in line for line in shown), secret
