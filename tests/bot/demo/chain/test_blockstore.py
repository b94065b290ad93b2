"""The chain's file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bot.demo.chain.blocks import Blocks
from bot.demo.chain.blockstore import BlockStore, octets, quantity, transaction_hashes


def test_a_block_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """What breaks in the middle leaves nothing, neither of py-evm's nodes nor of ours."""
    store = BlockStore(tmp_path / "chain.db")
    with pytest.raises(OSError, match="broken"), store.whole():  # both writes are undone by what follows
        store.nodes[b"key"] = b"value"
        store.set_fact("chain_id", "1")
        raise OSError("broken")
    assert store.fact("chain_id") is None
    assert b"key" not in store.nodes
    with store.whole():
        store.nodes[b"key"] = b"value"
    assert store.nodes[b"key"] == b"value"
    store.close()
    assert sqlite3.connect(tmp_path / "chain.db").execute("SELECT count(*) FROM nodes").fetchone() == (1,)


def test_a_node_that_is_deleted_is_gone(tmp_path: Path) -> None:
    """Before and after it is written."""
    store = BlockStore(tmp_path / "chain.db")
    with store.whole():
        store.nodes[b"key"] = b"value"
    with store.whole():
        del store.nodes[b"key"]
        assert b"key" not in store.nodes
    assert b"key" not in store.nodes
    store.close()


def test_the_first_block_in_the_form_of_the_wire(tmp_path: Path) -> None:
    """It is found by number and by hash; what is not there is None, or an empty list."""
    blocks = Blocks(tmp_path / "chain.db", chain_id=7, funded=bytes(20))
    block = blocks.store.block(0)
    assert block is not None
    assert (block["number"], transaction_hashes(block)) == ("0x0", [])
    assert blocks.store.number_of(str(block["hash"])) == 0
    assert blocks.store.block(1) is None
    assert blocks.store.transaction("0x") is blocks.store.receipt("0x") is None
    assert blocks.store.logs(0, 9, [], [], 10) == []
    blocks.close()


def test_numbers_and_bytes_of_the_wire() -> None:
    """Numbers without leading zeros, bytes with all of theirs."""
    assert (quantity(10), octets(b"\0\x0a")) == ("0xa", "0x000a")
