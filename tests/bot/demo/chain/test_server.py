"""The embedded chain as a process, seen through its port: what a client of any node relies on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from web3 import AsyncHTTPProvider, AsyncWeb3

from contracts.deploy import deploy
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger
from tests.builders.chain_process import ask


async def rpc(url: str, body: Any, **kwargs: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body, **kwargs) as response:
        return response.status, await response.json()


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A client as anybody would make it, with all of web3's own middleware."""
    provider = AsyncHTTPProvider(url)
    try:
        yield AsyncWeb3(provider)
    finally:
        await provider.disconnect()


async def send(chain: Any, to: str, data: bytes = b"", *, nonce: int | None = None, value: int = 0) -> str:
    """Signs and sends as the chain's own account; gives the hash."""
    async with connected(chain.url) as web3:
        signer = chain.signer
        if nonce is None:
            nonce = await web3.eth.get_transaction_count(signer.address)
        signed = await signer.sign(
            {
                "chainId": await web3.eth.chain_id, "nonce": nonce, "to": to, "data": data, "value": value,
                "gas": 500_000, "maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**6,
            }
        )  # fmt: skip
        return "0x" + (await web3.eth.send_raw_transaction(signed.raw)).hex()


async def test_blocks_code_and_receipts_survive_a_sigkill(start_chain: Callable[[], Any], tmp_path: Path) -> None:
    """Everything that was answered is on disk: same head, same hashes, same state, and it goes on from there."""
    chain = start_chain()
    deployment = await deploy(chain.url, chain.signer, tmp_path / "ledger.json")
    async with Ledger(chain.url, deployment.address) as ledger:
        data = calls.open_round(b"r" * 32, 1, int(time.time()) + 3600, 0, b"m" * 32)
        tx = await send(chain, ledger.address, data)
        questions: list[tuple[str, list[Any]]] = [
            ("eth_getBlockByNumber", ["latest", True]),
            ("eth_getBlockByNumber", ["0x0", False]),
            ("eth_getTransactionReceipt", [tx]),
            ("eth_getTransactionByHash", [tx]),
            ("eth_getCode", [ledger.address, "latest"]),
            ("eth_getStorageAt", [ledger.address, "0x5", "latest"]),
            ("eth_getBalance", [chain.signer.address, "latest"]),
            ("eth_getTransactionCount", [chain.signer.address, "latest"]),
            ("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "latest"}]),
        ]
        before = [await ask(chain.url, method, *params) for method, params in questions]
        chain.stop(signal.SIGKILL)
        chain.start()
        assert [await ask(chain.url, method, *params) for method, params in questions] == before
        assert before[2]["status"] == "0x1"
        assert len(before[8]) == 4
        assert await ledger.check() == deployment.chain_id
        await send(chain, ledger.address, calls.close_round(1))
        assert [event.name async for event in ledger.events()][-2:] == ["RoundOpened", "RoundClosed"]


async def test_a_second_chain_in_the_same_directory_is_refused(chain: Any) -> None:
    """It says so in one sentence and exits 1; the first one is unharmed."""
    command = [sys.executable, "-m", "bot.demo.chain", "--state", str(chain.state)]
    second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert (second.returncode, second.stdout) == (1, "")
    assert "Another embedded chain already runs" in second.stderr
    assert await ask(chain.url, "eth_chainId") == "0x7ac7"


async def test_the_key_is_kept_private_and_never_printed(chain: Any) -> None:
    """Mode 0600, in a directory of mode 0700; standard output names the file, not the key."""
    path = Path(chain.ready["key_file"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(chain.state.stat().st_mode) == 0o700
    assert path.read_text().strip() not in json.dumps(chain.ready)
    assert chain.ready["address"] == chain.signer.address.lower()
    assert chain.ready["notice"].startswith("dev chain, not immutable")
    assert "not immutable" in await ask(chain.url, "web3_clientVersion")


def test_it_stops_when_asked_and_when_its_supervisor_is_gone(start_chain: Callable[[], Any], tmp_path: Path) -> None:
    """SIGTERM and a closed standard input both end it with status 0."""
    assert start_chain().stop(signal.SIGTERM) == 0
    command = [sys.executable, "-m", "bot.demo.chain", "--state", str(tmp_path / "watched"), "--watch-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline())["ready"] is True
        process.stdin.close()
        assert process.wait(20) == 0


async def test_many_blocks_in_a_second_do_not_run_ahead_of_the_clock(chain: Any) -> None:
    """Ten blocks at once share their seconds; none is dated in the future, and none before its parent."""
    for _ in range(10):
        await ask(chain.url, "evm_mine")
    head = int(await ask(chain.url, "eth_blockNumber"), 16)
    stamps = [
        int((await ask(chain.url, "eth_getBlockByNumber", hex(number), False))["timestamp"], 16)
        for number in range(head - 9, head + 1)
    ]
    assert stamps == sorted(stamps)
    assert stamps[-1] <= int(time.time())
    assert len(set(stamps)) < 10


async def test_a_nonce_that_is_not_due_waits_for_the_one_before_it(chain: Any) -> None:
    """As on a node: the gapped one is unmined until the gap is filled, then both are."""
    nonce = int(await ask(chain.url, "eth_getTransactionCount", chain.signer.address, "latest"), 16)
    later = await send(chain, "0x" + "77" * 20, nonce=nonce + 1)
    assert await ask(chain.url, "eth_getTransactionReceipt", later) is None
    assert (await ask(chain.url, "eth_getTransactionByHash", later))["blockNumber"] is None
    await send(chain, "0x" + "77" * 20, nonce=nonce)
    assert (await ask(chain.url, "eth_getTransactionReceipt", later))["status"] == "0x1"


async def test_web3_reads_what_it_needs(chain: Any, ledger: Ledger) -> None:
    """Fees, blocks by every tag, code, storage and history come in the form that AsyncWeb3 expects."""
    async with connected(chain.url) as web3:
        assert await web3.eth.chain_id == 31431
        history = await web3.eth.fee_history(5, "latest", [50])
        assert len(history["baseFeePerGas"]) == len(history["gasUsedRatio"]) + 1
        head = await web3.eth.block_number
        for tag in ("latest", "safe", "finalized", "pending"):
            assert (await web3.eth.get_block(tag))["number"] == head
        assert (await web3.eth.get_block("earliest"))["number"] == 0
        assert len(await web3.eth.get_code(web3.to_checksum_address(ledger.address))) > 9000
        slot = await web3.eth.get_storage_at(web3.to_checksum_address(ledger.address), 0)
        assert slot[-20:].hex() == chain.signer.address[2:].lower()  # the owner
        assert await web3.eth.gas_price > 0
        logs = await web3.eth.get_logs({"address": web3.to_checksum_address(ledger.address), "fromBlock": 0})
        assert len(logs) == 3
        assert not await web3.eth.get_logs({"address": web3.to_checksum_address("0x" + "31" * 20), "fromBlock": 0})


async def test_a_revert_tells_its_reason_as_geth_does(chain: Any, ledger: Ledger) -> None:
    """Code 3, the reason in words, and the encoded error as data, for calls and for estimates."""
    call = {"from": chain.signer.address, "to": ledger.address, "data": "0x" + calls.close_round(9).hex()}
    for method in ("eth_call", "eth_estimateGas"):
        error = await ask(chain.url, method, call)
        assert error["code"] == 3
        assert error["message"] == "execution reverted: ledger: unknown round"
        assert error["data"].startswith("0x08c379a0")


async def test_an_estimate_is_enough_and_a_little_less_is_not(chain: Any, ledger: Ledger) -> None:
    """A transaction with exactly the estimated gas succeeds; with 1 % less it fails."""
    data = calls.open_round(b"e" * 32, 1, int(time.time()) + 3600, 0, b"m" * 32)
    gas = await ledger.node.estimate(chain.signer.address, ledger.address, data)
    for share, status in ((99, "0x0"), (100, "0x1")):
        signed = await chain.signer.sign(
            {
                "chainId": 31431, "nonce": await ledger.node.nonce(chain.signer.address), "to": ledger.address,
                "data": data, "value": 0, "gas": gas * share // 100, "maxFeePerGas": 3 * 10**9,
                "maxPriorityFeePerGas": 0,
            }
        )  # fmt: skip
        await ledger.node.send(signed.raw)
        assert (await ask(chain.url, "eth_getTransactionReceipt", signed.tx))["status"] == status


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_sendTransaction", "params": []}, -32601),
        ({"jsonrpc": "2.0", "id": 7, "method": "__init__", "params": []}, -32601),
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_getBalance", "params": []}, -32602),
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_getBalance", "params": ["0x12", "latest"]}, -32602),
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_getBalance", "params": ["0x" + "1" * 40, "soon"]}, -32602),
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_call", "params": ["x"]}, -32602),
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_chainId", "params": {}}, None),
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_getLogs", "params": [{"topics": [[["0x"]]]}]}, -32602),
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_sendRawTransaction", "params": ["0x1234"]}, -32000),
        ({"jsonrpc": "2.0", "id": 7, "method": "eth_getCode", "params": ["0x" + "1" * 40, "0xffffff"]}, -32000),
        ({"id": 7}, -32600),
        ("hello", -32600),
        ([], -32600),
    ],
)
async def test_requests_that_make_no_sense_get_the_right_error(chain: Any, body: Any, code: int | None) -> None:
    """The error codes are those of JSON-RPC, and the chain lives on."""
    _, answer = await rpc(chain.url, body)
    assert answer.get("error", {}).get("code") == code
    assert await ask(chain.url, "eth_chainId") == "0x7ac7"


async def test_a_batch_of_requests_is_answered_in_order(chain: Any) -> None:
    """Good and bad requests of one batch each get their own answer."""
    methods = ["eth_chainId", "eth_nothing", "eth_blockNumber"]
    body = [{"jsonrpc": "2.0", "id": place, "method": method, "params": []} for place, method in enumerate(methods)]
    _, answers = await rpc(chain.url, body)
    assert [answer["id"] for answer in answers] == [0, 1, 2]
    assert ["result" in answer for answer in answers] == [True, False, True]


async def test_web_pages_cannot_use_the_port(chain: Any) -> None:
    """A request with an Origin, or one that a browser may send without asking, is refused."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    status, _ = await rpc(chain.url, body, headers={"Origin": "https://example.org"})
    assert status == 415
    async with (
        aiohttp.ClientSession() as session,
        session.post(chain.url, data=json.dumps(body), headers={"Content-Type": "text/plain"}) as response,
    ):
        assert response.status == 415
    async with (
        aiohttp.ClientSession() as session,
        session.post(chain.url, data="{", headers={"Content-Type": "application/json"}) as response,
    ):
        assert (await response.json())["error"]["code"] == -32700
    async with (  # would overflow the stack of a process whose recursion limit py-evm has raised
        aiohttp.ClientSession() as session,
        session.post(chain.url, data="[" * 200_000, headers={"Content-Type": "application/json"}) as response,
    ):
        assert (await response.json())["error"]["code"] == -32700
    status, answer = await rpc(chain.url, body)
    assert status == 200
    assert "result" in answer


def test_the_directory_of_another_chain_is_refused(tmp_path: Path) -> None:
    """Blocks of one chain id are never continued under another."""
    from bot.demo.chain.blocks import Blocks

    Blocks(tmp_path / "chain.db", chain_id=1, funded=b"1" * 20).close()
    with pytest.raises(ValueError, match="holds chain 1, not 2"):
        Blocks(tmp_path / "chain.db", chain_id=2, funded=b"1" * 20)


def test_the_process_needs_no_compiler_and_no_client(chain: Any) -> None:
    """Starting it loads neither Vyper nor web3: it has to be quick."""
    code = "import sys, bot.demo.chain.server; print(sorted({'vyper', 'web3', 'eth_account'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert told.stdout.strip() == "[]"


async def test_a_call_that_names_a_price_is_run_at_that_price(start_chain: Callable[[], Any]) -> None:
    """As a block would run it: GASPRICE and BASEFEE are what they will be. Without a price both are 0, as elsewhere."""
    chain = start_chain()
    for opcode, priced in (("3a", 1_000_000), ("48", 0)):  # GASPRICE, BASEFEE
        code = bytes.fromhex(f"{opcode}60005260206000f3")
        tx = await send(chain, "", b"\x60" + bytes([len(code)]) + bytes.fromhex("80600b6000396000f3") + code)
        account = (await ask(chain.url, "eth_getTransactionReceipt", tx))["contractAddress"]
        call = {"from": chain.signer.address, "to": account, "gas": "0x186a0"}
        assert int(await ask(chain.url, "eth_call", call, "latest"), 16) == 0
        base = int((await ask(chain.url, "eth_feeHistory", 1, "latest"))["baseFeePerGas"][-1], 16)
        dear = {**call, "maxFeePerGas": hex(2 * base + 10**9), "maxPriorityFeePerGas": hex(10**6)}
        assert int(await ask(chain.url, "eth_call", dear, "latest"), 16) == base + priced
    cheap = {**call, "maxFeePerGas": "0x1"}
    assert "less than block base fee" in (await ask(chain.url, "eth_call", cheap, "latest"))["message"]
