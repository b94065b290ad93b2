"""Many answers of the ledger's getters at once: the same as one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.bulk import read_many, stored_words
from contracts.ledger.client import Ledger
from contracts.rpc.node import ChainUnreachableError
from tests.builders.ledger_bench import Bench
from tests.builders.lying_node import LyingNode


@pytest.fixture
async def lying(bench: Bench) -> AsyncIterator[LyingNode]:
    bench.round()
    bench.battle(1)
    async with LyingNode(bench) as made:
        yield made


@pytest.fixture
async def ledger(lying: LyingNode, bench: Bench) -> AsyncIterator[Ledger]:
    async with Ledger(lying.url, bench.address) as made:
        yield made


async def test_answers_come_in_order(ledger: Ledger, bench: Bench) -> None:
    """One value, several, and addresses with their checksum; after the block that is named."""
    head = await ledger.node.block_number()
    assert await read_many(ledger, "round_of", [(b"r" * 32,), (b"s" * 32,)], head) == [1, 0]
    assert await read_many(ledger, "owner", [()], head) == [bench.owner.address]
    assert (await read_many(ledger, "round_info", [(1,)], head))[0] == (
        bench.now, bench.now + 3600, 0, 1, 0, False, 0,
    )  # fmt: skip
    assert await read_many(ledger, "round_of", [(b"r" * 32,)], int(bench.deployed["blockNumber"], 16)) == [0]
    assert await read_many(ledger, "round_of", [], head) == []


async def test_what_no_getter_gives_is_read_from_the_storage(ledger: Ledger) -> None:
    """The sides of a battle that is not revealed; nothing for a number that names none."""
    head = await ledger.node.block_number()
    slot = ledger_artefact().storage["sides"]
    assert await stored_words(ledger, slot, [1 << 10 | 1, 5], head) == [b"s" * 32, bytes(32)]


async def test_an_answer_of_another_shape_is_a_sentence(ledger: Ledger, lying: LyingNode) -> None:
    """None, a text, too few bytes."""
    head = await ledger.node.block_number()
    for answer in (None, "0x12", "nothing"):
        lying.answers["eth_call"] = lambda _, answer=answer: answer  # type: ignore[misc]  # bound now
        with pytest.raises(ChainUnreachableError, match="never gives"):
            await read_many(ledger, "owner", [()], head)
    lying.answers["eth_getStorageAt"] = lambda _: "nothing"
    with pytest.raises(ChainUnreachableError, match="no stored word"):
        await stored_words(ledger, 17, [1], head)
