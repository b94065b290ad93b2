"""One node: its refusals are told apart from its silence."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.ledger.client import Ledger
from contracts.rpc.node import (
    NodeRefusedError,
)


async def test_a_node_that_refuses_to_be_paid_little_is_told_apart_from_silence(ledger: Ledger, chain: Any) -> None:
    """A refusal of the node carries its words, not a pretended outage."""
    signer = chain.signer
    signed = await signer.sign(
        {
            "chainId": 31431, "nonce": await ledger.node.nonce(signer.address), "to": ledger.address, "data": b"",
            "value": 0, "gas": 100_000, "maxFeePerGas": 1, "maxPriorityFeePerGas": 1,
        }
    )  # fmt: skip
    with pytest.raises(NodeRefusedError, match="max fee per gas less than block base fee"):
        await ledger.node.send(signed.raw)
