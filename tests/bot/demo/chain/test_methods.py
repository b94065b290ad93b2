"""JSON-RPC's methods, called without a port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.demo.chain.blocks import FUNDS, Blocks
from bot.demo.chain.blockstore import ChainError
from bot.demo.chain.methods import TIP, BadParamsError, Methods

RICH = bytes.fromhex("11" * 20)
CHAIN_ID = 31_431


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Methods]:
    blocks = Blocks(tmp_path_factory.mktemp("chain") / "chain.db", chain_id=CHAIN_ID, funded=RICH)
    for _ in range(3):
        blocks.mine_empty()
    yield Methods(blocks)
    blocks.close()


def test_the_words_of_a_node(methods: Methods) -> None:
    """Numbers are written in hex, and the chain says who it is."""
    assert methods.run("eth_chainId", []) == hex(CHAIN_ID)
    assert methods.run("net_version", []) == str(CHAIN_ID)
    assert methods.run("eth_blockNumber", []) == "0x3"
    assert methods.run("eth_getBalance", ["0x" + RICH.hex(), "latest"]) == hex(FUNDS)
    assert methods.run("eth_getTransactionCount", ["0x" + RICH.hex(), "pending"]) == "0x0"


def test_blocks_by_number_and_by_hash(methods: Methods) -> None:
    """A block that is not there yet is null; its hash and its number lead to the same one."""
    block = methods.run("eth_getBlockByNumber", ["0x2", True])
    assert isinstance(block, dict)
    assert block == methods.run("eth_getBlockByHash", [block["hash"]])
    assert methods.run("eth_getBlockByNumber", ["0x9"]) is None
    assert methods.run("eth_getBlockReceipts", ["0x2"]) == []


def test_a_history_of_fees(methods: Methods) -> None:
    """One base fee more than blocks, and a reward for each percentile."""
    history = methods.run("eth_feeHistory", ["0x2", "latest", [25, 75]])
    assert isinstance(history, dict)
    assert history["oldestBlock"] == "0x2"
    assert len(history["baseFeePerGas"]) == 3
    assert history["reward"] == [[hex(TIP)] * 2] * 2


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", ["0x1", "latest"]),
        ("eth_getBalance", [1, "latest"]),
        ("eth_getBalance", ["0x" + RICH.hex(), "7"]),
        ("eth_feeHistory", ["0x0", "latest"]),
        ("eth_feeHistory", ["0x1", "latest", "all"]),
        ("eth_getLogs", ["all"]),
        ("eth_getLogs", [{"topics": [None] * 5}]),
        ("eth_getLogs", [{"fromBlock": "0x3", "toBlock": "0x1"}]),
        ("eth_call", ["0x"]),
        ("eth_chainId", ["too", "many"]),
    ],
)
def test_parameters_that_do_not_fit(methods: Methods, method: str, params: list[object]) -> None:
    """Each is the caller's mistake (-32602), and says what is wanted."""
    with pytest.raises(BadParamsError) as raised:
        methods.run(method, params)
    assert raised.value.code == -32602


def test_what_is_not_there(methods: Methods) -> None:
    """An unknown method, and a block beyond the head."""
    with pytest.raises(ChainError, match="does not exist") as raised:
        methods.run("eth_mine", [])
    assert raised.value.code == -32601
    with pytest.raises(ChainError, match="header not found"):
        methods.run("eth_getBalance", ["0x" + RICH.hex(), "0x9"])
