"""Faults of the embedded chain, and a real relayer that lives through them: each vote is counted once, none is lost."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from contracts.relayer.relayer import Relayer
from contracts.rpc.endpoints import Patience
from contracts.rpc.node import ChainUnreachableError, Node, NodeRefusedError
from tests.builders.chain_process import ChainProcess, ask
from tests.builders.relayed_community import PEPPER, QUICK, Community, ballots

TOKEN = "who may break the chain"


class FaultyChain(ChainProcess):
    """The embedded chain with a control route."""

    def start(self) -> None:
        command = [sys.executable, "-m", "bot.demo.chain", "--port", str(self.port), "--state", str(self.state)]
        env = {**os.environ, "FLOCK_DEMO_CONTROL_TOKEN": TOKEN}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())
        self.port, self.url = self.ready["port"], self.ready["url"]


async def control(chain: Any, token: str = TOKEN, **wanted: Any) -> tuple[int, dict[str, Any]]:
    """One request to the control route: GET, or POST where something is wanted."""
    headers = {"Authorization": f"Bearer {token}"}
    url, method = f"{chain.url}/control/faults", "POST" if wanted else "GET"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, json=wanted or None) as response,
    ):
        told = await response.json() if response.content_type == "application/json" else {}
        return response.status, told


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyChain]:
    made = FaultyChain(tmp_path_factory.mktemp("faulty"))
    yield made
    made.stop()


@pytest.fixture
async def broken(faulty: FaultyChain) -> AsyncIterator[FaultyChain]:
    """The chain, in order before a test and after it."""
    await control(faulty, off=True)
    yield faulty
    await control(faulty, off=True)


@pytest.fixture
async def node(broken: FaultyChain) -> AsyncIterator[Node]:
    node = Node(broken.url, timeout_s=5)
    yield node
    await node.close()


# ------------------------------------------------------------------ the switch


async def test_no_route_without_a_token(chain: Any, broken: FaultyChain) -> None:
    """A chain that was given no token has no control route; one that was wants exactly that token."""
    assert (await control(chain))[0] == 404
    assert (await control(chain, fault="cut"))[0] == 404
    assert await control(broken, token="guessed", fault="cut") == (401, {"error": "Wrong or missing token."})
    status, told = await control(broken)
    assert (status, told["faults"]) == (200, [])
    assert await ask(broken.url, "eth_chainId") == "0x7ac7"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"fault": "fork"}, "does not match any of the expected tags"),
        ({"fault": "rpc_error", "code": 5}, "code: Input should be less than or equal to -1"),
        ({"fault": "rpc_error", "message": ""}, "message: String should have at least 1 character"),
        ({"fault": "http_error", "status": 200}, "status: Input should be 429, 500, 502 or 503"),
        ({"fault": "pause_mining", "rate": 0.5}, "it has no rate and no count"),
        ({"fault": "slow", "seconds": "1"}, "seconds: Input should be a valid number"),
        ({"off": 12345}, "There is no fault with that id"),
        ({"fault": "cut", "path": "/"}, "path: Extra inputs are not permitted"),
    ],
)
async def test_what_cannot_be_read_is_a_sentence(broken: FaultyChain, wanted: dict[str, Any], words: str) -> None:
    """A fault that there is not is refused with a sentence, and changes nothing."""
    status, told = await control(broken, **wanted)
    assert (status, words in told["error"]) == (400, True), told
    assert (await control(broken))[1]["faults"] == []


# ------------------------------------------------------------------ what a client meets


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        ({"fault": "rpc_error", "code": -32603, "message": "internal error"}, NodeRefusedError, "internal error"),
        ({"fault": "rpc_error", "code": -32005, "message": "limit exceeded"}, ChainUnreachableError, "busy"),
        ({"fault": "http_error", "status": 429}, ChainUnreachableError, "HTTP 429"),
        ({"fault": "http_error", "status": 502}, ChainUnreachableError, "HTTP 502"),
        ({"fault": "cut"}, ChainUnreachableError, "does not answer"),
        ({"fault": "cut", "after": True}, ChainUnreachableError, "does not answer"),
        ({"fault": "slow", "seconds": 30}, ChainUnreachableError, "TimeoutError"),
    ],
)
async def test_a_node_in_trouble(
    broken: FaultyChain, wanted: dict[str, Any], error: type[Exception], words: str
) -> None:
    """The client says in a sentence what it met; other methods pass, and the next request does too."""
    node = Node(broken.url, timeout_s=1, patience=Patience(tries=1))
    try:
        await control(broken, method="eth_getBalance", **wanted)
        assert await node.chain_id() == 31_431
        with pytest.raises(error, match=words):
            await node.balance(broken.signer.address)
        assert await node.balance(broken.signer.address) > 0
    finally:
        await node.close()
    _, told = await control(broken)
    assert told["faults"][0]["done"] == 1
    assert told["done"][wanted["fault"]] >= 1


async def test_a_batch_is_refused_call_by_call(broken: FaultyChain) -> None:
    """An error of JSON-RPC answers each call of a batch under its own id; the next batch passes."""
    await control(broken, fault="rpc_error", method="eth_chainId", message="replacement transaction underpriced")
    batch = [{"jsonrpc": "2.0", "id": i, "method": m} for i, m in enumerate(("eth_blockNumber", "eth_chainId"))]
    async with aiohttp.ClientSession() as session:
        async with session.post(broken.url, json=batch) as response:
            refused = await response.json()
        async with session.post(broken.url, json=batch) as response:
            passed = await response.json()
    assert [(one["id"], one["error"]["code"]) for one in refused] == [(0, -32000), (1, -32000)]
    assert "underpriced" in refused[1]["error"]["message"]
    assert passed[1]["result"] == "0x7ac7"


async def test_mining_stops_and_goes_on(broken: FaultyChain, node: Node) -> None:
    """What is sent during a pause has no receipt until the pause ends; then all is mined, in order."""
    await control(broken, fault="pause_mining")
    before = await node.block_number()
    address = broken.signer.address
    nonce = await node.nonce(address)
    txs = []
    for number in (nonce, nonce + 1):
        signed = await broken.signer.sign(
            {
                "chainId": 31_431, "nonce": number, "to": address, "data": b"", "value": 0, "gas": 50_000,
                "maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**6,
            }
        )  # fmt: skip
        assert await node.send(signed.raw)
        assert not await node.send(signed.raw), "the node knows it already"
        txs.append(signed.tx)
    assert (await node.receipt(txs[0]), await node.block_number()) == (None, before)
    assert await node.nonce(address, "pending") == nonce + 2
    await control(broken, off=True)
    receipts = [await node.wait(tx, timeout_s=60) for tx in txs]
    assert [receipt.block_number for receipt in receipts] == [before + 1, before + 2]


async def test_a_pause_of_mining_ends_by_itself(broken: FaultyChain, node: Node) -> None:
    """After its seconds the chain mines again."""
    await control(broken, fault="pause_mining", seconds=0.3)
    while (await control(broken))[1]["faults"][0]["holding"]:
        await asyncio.sleep(0.05)
    signed = await broken.signer.sign(
        {
            "chainId": 31_431, "nonce": await node.nonce(broken.signer.address), "to": broken.signer.address,
            "data": b"", "value": 0, "gas": 50_000, "maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**6,
        }
    )  # fmt: skip
    await node.send(signed.raw)
    assert (await node.wait(signed.tx, timeout_s=60)).ok


# ------------------------------------------------------------------ the relayer


STORMS: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "answer lost": [{"fault": "cut", "method": "eth_sendRawTransaction", "after": True, "count": 4}],
    "said to be too low": [{"fault": "rpc_error", "method": "eth_sendRawTransaction", "count": 3}],
    "accepted, said to be underpriced": [
        {
            "fault": "rpc_error",
            "method": "eth_sendRawTransaction",
            "after": True,
            "message": "replacement transaction underpriced",
            "count": 3,
        }
    ],
    "all kinds": [
        {"fault": "http_error", "status": 429, "rate": 0.04, "seed": 1},
        {"fault": "http_error", "status": 502, "rate": 0.04, "seed": 2, "after": True},
        {"fault": "cut", "rate": 0.04, "seed": 3},
        {"fault": "cut", "rate": 0.04, "seed": 4, "after": True},
        {"fault": "slow", "rate": 0.04, "seed": 5, "seconds": 0.05},
        {"fault": "rpc_error", "rate": 0.04, "seed": 6, "code": -32603, "message": "internal error"},
    ],
}


@pytest.mark.parametrize("storm", STORMS)
async def test_every_vote_is_counted_once_through_a_storm(
    store: AsyncEngine, broken: FaultyChain, tmp_path: Path, storm: str
) -> None:
    """A round, its videos and votes reach the chain exactly once, whatever the node answers meanwhile."""
    deployment = await deploy(broken.url, broken.signer, tmp_path / "ledger.json")
    community = Community(store)
    async with Ledger(broken.url, deployment.address) as ledger:
        for wanted in STORMS[storm]:
            assert (await control(broken, **wanted))[0] == 200
        running = asyncio.create_task(Relayer(store, ledger, broken.signer, replace(QUICK, longest_pause_s=0.3)).run())
        try:
            round_id = await community.round()
            await community.video(round_id, "a")
            for member in range(1, 9):
                await community.vote(round_id, "a", (member, 1 + member % 2))
                await asyncio.sleep(0.05)
            await community.vote(round_id, "a", (1, 1), (2, 0))
            await community.close(round_id)
            deadline = time.monotonic() + 60
            while set(states := await community.states()) - {"final", "superseded"}:
                assert time.monotonic() < deadline, states
                await asyncio.sleep(0.1)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        struck = sum(rule["done"] for rule in (await control(broken))[1]["faults"])
        await control(broken, off=True)
        assert await ballots(ledger, 1, 8) == [1, 0, 2, 1, 2, 1, 2, 1]
        report = await audit(broken.url, ledger.address, database=store, pepper=PEPPER)
        assert report.ok, report
    assert (struck > 0) is bool(STORMS[storm])
    finals = [row.nonce for kind in ("round", "video", "voters", "votes") for row in await community.sent(kind)]
    assert len(finals) == len(set(finals))


async def test_a_node_that_fails_now_and_then_is_no_node_that_is_away(
    store: AsyncEngine, broken: FaultyChain, tmp_path: Path
) -> None:
    """The relayer waits ever longer while nothing succeeds, and begins anew where something did in between."""
    deployment = await deploy(broken.url, broken.signer, tmp_path / "ledger.json")
    community = Community(store)
    async with Ledger(broken.url, deployment.address) as ledger:
        relayer = Relayer(store, ledger, broken.signer, QUICK)
        pause = QUICK.poll_s
        for _ in range(5):
            grown = relayer._in_trouble("The node is away.", pause)
            assert grown > pause
            pause = grown
        await community.round()
        async with asyncio.timeout(60):
            while await relayer.tick():
                await asyncio.sleep(0.02)
        assert await community.states("round") == {"final": 1}
        assert relayer._in_trouble("The node is away.", pause) <= 2 * 1.2 * QUICK.poll_s < pause
        assert relayer._in_trouble("The node is away.", pause) > pause
