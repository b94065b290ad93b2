"""The client of the ledger: its values, and what it says of a ledger that is not ours."""

from __future__ import annotations

from typing import Any

import pytest
from web3.datastructures import AttributeDict

from contracts.ledger.client import Ledger, choice_of, from_hex, gather
from contracts.rpc.node import WrongLedgerError


def test_a_key_has_32_bytes() -> None:
    """With or without 0x; what is shorter, longer or no hex is refused."""
    assert from_hex("0x" + "ab" * 32) == from_hex("ab" * 32) == b"\xab" * 32
    for text in ("ab" * 31, "0x" + "ab" * 33, "zz" * 32):
        with pytest.raises(ValueError):  # two libraries word it
            from_hex(text)


def test_a_choice_is_read_by_names_and_in_order() -> None:
    """As web3's decoders give the parts of a signed ballot: with names, or as a tuple."""
    assert choice_of(AttributeDict({"choice": 2, "video": 1025})) == (1025, 2)
    assert choice_of((1025, 2)) == (1025, 2)


async def test_answers_come_in_the_order_of_the_questions() -> None:
    """However many are asked at once; no question gives no answer."""

    async def double(number: int) -> int:
        return 2 * number

    assert await gather(double, range(37), at_once=5) == [2 * number for number in range(37)]
    assert await gather(double, []) == []


async def test_an_address_without_our_code_is_not_trusted(ledger: Ledger, chain: Any) -> None:
    """Of the right ledger the chain's id is returned, and its log begins with the deployment."""
    chain_id = await ledger.check()
    assert await ledger.check(chain_id) == chain_id
    with pytest.raises(WrongLedgerError, match=f"but chain {chain_id + 1} is expected"):
        await ledger.check(chain_id + 1)
    async with Ledger(chain.url, "0x" + "11" * 20) as nothing:
        with pytest.raises(WrongLedgerError, match="no contract at"):
            await nothing.check()
    names = [event.name async for event in ledger.events()]
    assert names[0] == "OwnershipTransferred"
    some = [event.name async for event in ledger.events(topics=ledger.any_of("RelayerSet"))]
    assert set(some) == {"RelayerSet"}
    with pytest.raises(ValueError, match="40 hex digits"):
        Ledger(chain.url, "0x12")
