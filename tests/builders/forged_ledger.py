"""Ledgers with the genuine code that were not made by FLock's creation code: their past may be any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eth_utils.crypto import keccak
from web3 import Web3
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.ledger.artifact import ledger_artefact
from tests.builders.ledger_bench import STORAGE, Bench
from tests.builders.lying_node import creation_code


def forged(bench: Bench, hidden_relayer: str) -> str:
    """Deploy a ledger whose constructor writes what the genuine one does, and makes another account a relayer."""
    owner, guardian, relayer = bench.owner.address, bench.guardian.address, bench.relayer.address
    storage = {STORAGE["owner"]: int(owner, 16), STORAGE["guardian"]: int(guardian, 16)}
    for account in (relayer, hidden_relayer):
        place = keccak(STORAGE["is_relayer"].to_bytes(32, "big") + int(account, 16).to_bytes(32, "big"))
        storage[int.from_bytes(place, "big")] = 1
    address = _next(bench)
    receipt = bench._send(bench.stranger, "", _writing(storage, bench.deployed["logs"]))
    assert receipt["status"] == "0x1"
    return address


def made_by_a_factory(bench: Bench) -> str:
    """Deploy a ledger with the genuine creation code, by way of a contract that creates what it is sent."""
    factory = bench.put(bytes.fromhex("3660006000373660006000f000"))
    roles = [account.address for account in (bench.owner, bench.guardian, bench.relayer)]
    assert bench._send(bench.stranger, factory, creation_code(roles))["status"] == "0x1"
    return str(get_create_address(Web3.to_checksum_address(factory), Nonce(1)))


def _next(bench: Bench) -> str:
    nonce = bench._nonces.get(bench.stranger.address, 0)
    return str(get_create_address(bench.stranger.address, Nonce(nonce)))


def _writing(storage: Mapping[int, int], logs: Sequence[Mapping[str, Any]]) -> bytes:
    """Return creation code that writes these slots and this log, and ends with the genuine code."""
    code = b"".join(_push(value) + _push(slot) + b"\x55" for slot, value in storage.items())
    for log in logs:
        data = bytes.fromhex(log["data"][2:])
        for at in range(0, len(data), 32):
            code += _push(int.from_bytes(data[at : at + 32], "big")) + _push(at) + b"\x52"
        code += b"".join(_push(int(topic, 16)) for topic in reversed(log["topics"]))
        code += _push(len(data)) + _push(0) + bytes([0xA0 + len(log["topics"])])
    runtime = bytes.fromhex(ledger_artefact().runtime_bytecode[2:])
    size = _push(len(runtime))
    end = size + b"\x61%b" + _push(0) + b"\x39" + size + _push(0) + b"\xf3"
    start = len(code) + len(end)
    return code + end.replace(b"%b", start.to_bytes(2, "big")) + runtime


def _push(value: int) -> bytes:
    data = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
    return bytes([0x5F + len(data)]) + data
