"""Puts the ledger onto a chain, once: a record file remembers the signed bytes before they are first sent."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.client import Ledger
from contracts.rpc.node import LedgerError, LedgerRefusedError, Node, WrongLedgerError
from contracts.signers.keystore import Signer


@dataclass(frozen=True)
class Deployment:
    """Where a ledger lives, and since when: `block` is the first that can hold its events."""

    address: str
    tx: str
    block: int
    chain_id: int


async def deploy(
    rpc_url: str,
    signer: Signer,
    record: Path,
    *,
    owner: str | None = None,
    guardian: str | None = None,
    relayer: str | None = None,
    timeout_s: float = 120.0,
) -> Deployment:
    """Deploys the ledger and waits until it is mined; with a record of an earlier deployment, that one is returned.

    Safe to repeat after a crash at any point: the record holds the signed bytes, and only they are ever sent.
    Roles that are not named go to the signer. Raises LedgerError with a sentence when the record belongs to another
    chain, the code there is not ours, the chain does not answer, the account cannot pay, or the ledger of the record
    has another owner or guardian than is named.
    """
    node = Node(rpc_url)
    try:
        chain_id = await node.chain_id()
        held = await asyncio.to_thread(_read, record)
        if held is None:
            roles = [node.checksum(role or signer.address) for role in (owner, guardian, relayer)]
            data = bytes.fromhex(ledger_artefact().bytecode[2:]) + encode(["address"] * 3, roles)
            fees, nonce = await node.fees(), await node.nonce(signer.address)
            gas = await node.estimate(signer.address, None, data)
            gas += gas // 5
            # Before the record, which fixes the roles: whoever must come back with coin may think better of them.
            if (lacks := gas * fees.maximum - await node.balance(signer.address)) > 0:
                raise LedgerError(
                    f"Account {signer.address} lacks {lacks / 10**18:.9f} coins to pay for the deployment."
                )
            signed = await signer.sign(
                {
                    "chainId": chain_id,
                    "nonce": nonce,
                    "to": "",  # a creation
                    "data": data,
                    "value": 0,
                    "gas": gas,
                    "maxFeePerGas": fees.maximum,
                    "maxPriorityFeePerGas": fees.tip,
                }
            )
            address = get_create_address(node.checksum(signer.address), Nonce(nonce))
            held = {"chain_id": chain_id, "address": address, "tx": signed.tx, "raw": "0x" + signed.raw.hex()}
            await asyncio.to_thread(_write, record, held)
        if held["chain_id"] != chain_id:
            raise WrongLedgerError(
                f"{record} tells of a ledger on chain {held['chain_id']}, but {node.host} serves chain {chain_id}; "
                "use another record file for another chain."
            )
        if "block" not in held:
            receipt = await node.receipt(held["tx"])
            if receipt is None:
                await node.send(bytes.fromhex(held["raw"][2:]))
                receipt = await node.wait(held["tx"], timeout_s=timeout_s)
            if not receipt.ok:
                raise LedgerRefusedError("the deployment was reverted")
            held = {"chain_id": chain_id, "address": held["address"], "tx": held["tx"], "block": receipt.block_number}
            await asyncio.to_thread(_write, record, held)
    finally:
        await node.close()
    try:
        await verify(rpc_url, held["address"])
    except WrongLedgerError as error:
        raise WrongLedgerError(f"{error} Move {record} away first: it tells of that address.") from None
    await _check_roles(rpc_url, held["address"], record, {"owner": owner, "guardian": guardian})
    return Deployment(held["address"], held["tx"], held["block"], held["chain_id"])


def read_deployment(record: Path) -> Deployment | None:
    """The deployment that a record file tells of; None when there is none, or it has not been mined yet.

    Raises ValueError with a sentence for a file that is no such record.
    """
    held = _read(record)
    return None if held is None or "block" not in held else Deployment(**held)


async def _check_roles(rpc_url: str, address: str, record: Path, named: dict[str, str | None]) -> None:
    """A record may be of a deployment that named others: nobody shall believe in an owner who is none."""
    async with Ledger(rpc_url, address) as ledger:
        held = {"owner": await ledger.owner(), "guardian": await ledger.guardian()}
        for role, wanted in named.items():
            if wanted is not None and ledger.node.checksum(wanted) != held[role]:
                raise WrongLedgerError(
                    f"The ledger that {record} tells of is there already: its {role} is {held[role]}, not {wanted}. "
                    "Let its owner change that, or move the record away to deploy another ledger."
                )


async def verify(rpc_url: str, address: str) -> int:
    """Compares the code on chain with the committed artefact, byte for byte by its hash; gives the chain's id.

    Raises WrongLedgerError with a sentence when there is no such ledger.
    """
    async with Ledger(rpc_url, address) as ledger:
        return await ledger.check()


def _read(record: Path) -> dict[str, Any] | None:
    if not record.exists():
        return None
    try:
        held = json.loads(record.read_text(encoding="utf-8"))
        complete = isinstance(held, dict) and {"chain_id", "address", "tx"} <= held.keys()
    except ValueError:
        complete = False
    if not complete or not ({"raw", "block"} & held.keys()):
        raise ValueError(f"{record} is not the record of a deployment; move it away to deploy anew.")
    return dict(held)


def _write(record: Path, held: dict[str, Any]) -> None:
    record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = record.with_name(record.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(held, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(record)
