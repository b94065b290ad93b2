"""The chain's blocks in this process: time, money and calls. What needs a port is in test_server.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from bot.demo.chain.blocks import FUNDS, Blocks, Call
from bot.demo.chain.blockstore import ChainError

ALICE = Account.from_key("0x" + "1" * 64)
BOB = bytes.fromhex("22" * 20)
CHAIN_ID = 7


@pytest.fixture
def blocks(tmp_path: Path) -> Iterator[Blocks]:
    funded = bytes.fromhex(ALICE.address[2:])
    blocks = Blocks(tmp_path / "chain.db", chain_id=CHAIN_ID, funded=funded, clock=lambda: 1_900_000_000)
    yield blocks
    blocks.close()


def transfer(nonce: int, **changes: Any) -> bytes:
    fields = {
        "chainId": CHAIN_ID, "nonce": nonce, "to": "0x" + BOB.hex(), "value": 5, "gas": 21_000,
        "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**6,
    }  # fmt: skip
    return bytes(Account.sign_transaction({**fields, **changes}, ALICE.key).raw_transaction)


def test_a_transfer_is_mined_at_once(blocks: Blocks) -> None:
    """One block more, money with its receiver, and the same transaction is known."""
    name = blocks.send_raw(transfer(0))
    assert blocks.head().block_number == 1
    assert blocks.balance(BOB, 1) == 5
    assert blocks.balance(BOB, 0) == 0
    mined = blocks.transaction(name)
    assert mined is not None
    assert mined["blockNumber"] == "0x1"
    with pytest.raises(ChainError, match="already known"):
        blocks.send_raw(transfer(0))


def test_a_pause_keeps_transactions_in_their_order(blocks: Blocks) -> None:
    """Nothing is mined until it ends; then all of them are, by their nonces."""
    blocks.paused = True
    later, first = blocks.send_raw(transfer(1)), blocks.send_raw(transfer(0))
    waiting = blocks.transaction(later)
    assert waiting is not None
    assert waiting["blockNumber"] is None
    assert (blocks.head().block_number, blocks.next_nonce(bytes.fromhex(ALICE.address[2:]))) == (0, 2)
    blocks.resume()
    numbers = [(blocks.transaction(name) or {})["blockNumber"] for name in (first, later)]
    assert numbers == ["0x1", "0x2"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gas": 20_000}, "intrinsic gas too low"),
        ({"gas": 31_000_000}, "exceeds block gas limit"),
        ({"maxFeePerGas": 10**6}, "less than block base fee"),
        ({"value": 2 * FUNDS}, "insufficient funds"),
        ({"chainId": 8}, "invalid chain id"),
    ],
)
def test_a_transaction_that_a_node_refuses(blocks: Blocks, changes: dict[str, Any], words: str) -> None:
    """In geth's words, by which clients know them; no block is mined."""
    with pytest.raises(ChainError, match=words):
        blocks.send_raw(transfer(0, **changes))
    assert blocks.head().block_number == 0


def test_a_used_nonce_and_bytes_that_are_none(blocks: Blocks) -> None:
    """Too low, or not to be read."""
    blocks.send_raw(transfer(0))
    with pytest.raises(ChainError, match="nonce too low"):
        blocks.send_raw(transfer(0, value=6))
    with pytest.raises(ChainError, match="cannot be read"):
        blocks.send_raw(b"\x02nonsense")


def test_a_call_changes_nothing_and_an_estimate_suffices(blocks: Blocks) -> None:
    """A plain transfer costs 21,000; whoever has no money cannot send any."""
    call = Call(sender=bytes.fromhex(ALICE.address[2:]), to=BOB, data=b"", value=5, gas=None)
    assert blocks.call(call, None) == b""
    assert blocks.estimate(call, None) == 21_000
    assert blocks.balance(BOB, 0) == 0
    poor = Call(sender=BOB, to=bytes(20), data=b"", value=5, gas=None)
    with pytest.raises(ChainError):
        blocks.estimate(poor, None)


def test_the_past_is_still_there_when_it_is_opened_again(tmp_path: Path) -> None:
    """The same chain goes on; another one's id is refused."""
    path = tmp_path / "chain.db"
    blocks = Blocks(path, chain_id=CHAIN_ID, funded=BOB)
    blocks.mine_empty()
    blocks.close()
    again = Blocks(path, chain_id=CHAIN_ID, funded=bytes(20))
    assert (again.head().block_number, again.balance(BOB, 1)) == (1, FUNDS)
    again.close()
    with pytest.raises(ValueError, match="holds chain 7, not 8"):
        Blocks(path, chain_id=8, funded=BOB)
