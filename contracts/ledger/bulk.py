"""Many answers of the ledger's getters, in a few requests. Signs nothing and sends nothing."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.client import Ledger
from contracts.rpc.node import ChainUnreachableError


@dataclass(frozen=True)
class _Getter:
    selector: bytes
    takes: list[str]
    gives: list[str]


@functools.cache
def _getters() -> dict[str, _Getter]:
    """Return the contract's functions that change nothing, by name."""
    return {
        abi["name"]: _Getter(
            bytes(function_abi_to_4byte_selector(abi)),  # type: ignore[arg-type]  # a function of our ABI
            [each["type"] for each in abi["inputs"]],
            [each["type"] for each in abi["outputs"]],
        )
        for abi in ledger_artefact().abi
        if abi["type"] == "function" and abi["stateMutability"] in ("view", "pure")
    }


async def read_many(ledger: Ledger, getter: str, questions: Iterable[Sequence[object]], at: int) -> list[Any]:
    """Return a getter's answers to several lists of arguments, in order, after a block.

    A getter with several outputs answers with a tuple; addresses have their checksum.
    """
    about = _getters()[getter]
    calls = []
    for arguments in questions:
        data = about.selector + encode(about.takes, list(arguments))
        calls.append(("eth_call", ({"to": ledger.address, "data": "0x" + data.hex()}, hex(at))))
    answers = await ledger.node.ask_many(calls)
    try:
        return [_values(about.gives, bytes.fromhex(answer[2:])) for answer in answers]
    except (DecodingError, TypeError, ValueError):
        raise ChainUnreachableError(
            f"The chain at {ledger.node.host} answers with something that the ledger's {getter} never gives."
        ) from None


async def stored_words(ledger: Ledger, mapping: int, keys: Iterable[int], at: int) -> list[bytes]:
    """Return the values of a mapping's keys in the contract's storage, 32 bytes each, after a block.

    `mapping` is its slot by the artefact's `storage`. For what no getter gives.
    """
    calls = []
    for key in keys:  # Vyper puts the slot before the key
        place = int.from_bytes(keccak(mapping.to_bytes(32, "big") + key.to_bytes(32, "big")), "big")
        calls.append(("eth_getStorageAt", (ledger.address, f"0x{place:064x}", hex(at))))
    answers = await ledger.node.ask_many(calls)
    try:
        return [bytes.fromhex(answer[2:]).rjust(32, b"\0") for answer in answers]
    except (TypeError, ValueError):
        raise ChainUnreachableError(f"The chain at {ledger.node.host} answers with no stored word.") from None


def _values(types: Sequence[str], answer: bytes) -> Any:  # as the ABI's types are
    values = decode(types, answer)
    values = tuple(
        to_checksum_address(value) if kind == "address" else value for kind, value in zip(types, values, strict=True)
    )
    return values[0] if len(values) == 1 else values
