"""Signed bytes: read back as the call that they carry, so that it can be signed again with a higher offer."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account

from contracts.relayer.attempts import call_of
from contracts.relayer.fees import Offer
from contracts.signers.keystore import KeySigner
from tests.builders.accounts import TRANSACTION


async def test_what_was_signed_is_read_back_and_can_be_signed_again() -> None:
    """The same call with the same offer gives the same bytes; with a higher one, another hash under the same nonce."""
    signer = KeySigner(Account.from_key("0x" + "11" * 32))
    transaction: Any = {**TRANSACTION, "data": b"\x01\x02", "nonce": 7}
    signed = await signer.sign(transaction)
    call, offer = call_of(signed.raw)
    assert offer == Offer(2, 1)
    assert (call["nonce"], call["data"], call["chainId"]) == (7, b"\x01\x02", 1)
    again: Any = {**call, "maxFeePerGas": offer.most, "maxPriorityFeePerGas": offer.tip}
    assert await signer.sign(again) == signed
    higher = await signer.sign({**again, "maxFeePerGas": 3})
    assert higher.tx != signed.tx
    assert call_of(higher.raw)[0] == call


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x02\xc0", bytes(100)])
def test_other_bytes_are_no_transaction(raw: bytes) -> None:
    """Whatever three libraries make of them, it is one error."""
    with pytest.raises(ValueError, match="no EIP-1559 transaction"):
        call_of(raw)
