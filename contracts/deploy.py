"""The deployment of the ledger onto a chain, once: a record file holds the signed bytes before they are first sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from eth_abi.abi import encode
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.client import Ledger
from contracts.rpc.node import LedgerError, LedgerRefusedError, Node, WrongLedgerError
from contracts.signers.keystore import Signer
from migrations.files import write_private


class Record(TypedDict, total=False):
    """The record file: with the signed bytes (`raw`) until the deployment is mined, then with its block."""

    chain_id: int
    address: str
    tx: str
    raw: str
    block: int


@dataclass(frozen=True)
class Deployment:
    """The place of a ledger: chain, address, and the block of its deployment, the first that can hold its events."""

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
    """Deploy the ledger and wait until it is mined; with a record of an earlier deployment, return that one.

    Safe to repeat after a crash at any point: the record holds the signed bytes, and only they are ever sent. Roles
    that are not named go to the signer. Raises LedgerError with a sentence when the record belongs to another chain,
    the code there is not ours, the chain does not answer, the account cannot pay, or the ledger of the record has
    another owner or guardian than is named.
    """
    node = Node(rpc_url)
    try:
        chain_id = await node.chain_id()
        stored = await asyncio.to_thread(_read, record)
        if stored is None:
            roles = [node.checksum(role or signer.address) for role in (owner, guardian, relayer)]
            stored = await _sign(node, signer, chain_id, roles)
            await asyncio.to_thread(_write, record, stored)
        if stored["chain_id"] != chain_id:
            raise WrongLedgerError(
                f"{record} tells of a ledger on chain {stored['chain_id']}, but {node.host} serves chain {chain_id}; "
                "use another record file for another chain."
            )
        if "block" not in stored:
            receipt = await node.receipt(stored["tx"])
            if receipt is None:
                await node.send(bytes.fromhex(stored["raw"][2:]))
                receipt = await node.wait(stored["tx"], timeout_s=timeout_s)
            if not receipt.ok:
                raise LedgerRefusedError("the deployment was reverted")
            stored = {
                "chain_id": chain_id,
                "address": stored["address"],
                "tx": stored["tx"],
                "block": receipt.block_number,
            }
            await asyncio.to_thread(_write, record, stored)
    finally:
        await node.close()
    try:
        await verify(rpc_url, stored["address"])
    except WrongLedgerError as error:
        raise WrongLedgerError(f"{error} Move {record} away first: it tells of that address.") from None
    await _check_roles(rpc_url, stored["address"], record, {"owner": owner, "guardian": guardian})
    return _deployment(stored)


async def _sign(node: Node, signer: Signer, chain_id: int, roles: Sequence[str]) -> Record:
    """Sign the deployment; return the record of it. Sends nothing. Raises LedgerError where the account cannot pay."""
    data = bytes.fromhex(ledger_artefact().bytecode[2:]) + encode(["address"] * 3, roles)
    fees, nonce = await node.fees(), await node.nonce(signer.address)
    gas = await node.estimate(signer.address, None, data)
    gas += gas // 5
    # Checked before the record is written, which fixes the roles: an operator who must come back with coin may choose
    # other roles.
    if (lacks := gas * fees.maximum - await node.balance(signer.address)) > 0:
        raise LedgerError(f"Account {signer.address} lacks {lacks / 10**18:.9f} coins to pay for the deployment.")
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
    return {"chain_id": chain_id, "address": address, "tx": signed.tx, "raw": "0x" + signed.raw.hex()}


def read_deployment(record: Path) -> Deployment | None:
    """Return the deployment of a record file; None when there is none, or it has not been mined yet.

    Raises ValueError with a sentence for a file that is no such record.
    """
    stored = _read(record)
    return None if stored is None or "block" not in stored else _deployment(stored)


def _deployment(stored: Record) -> Deployment:
    return Deployment(stored["address"], stored["tx"], stored["block"], stored["chain_id"])


async def _check_roles(rpc_url: str, address: str, record: Path, named_roles: dict[str, str | None]) -> None:
    """Raise WrongLedgerError where a record's deployment has another owner or guardian than is named.

    Otherwise somebody would believe in an owner who is none.
    """
    async with Ledger(rpc_url, address) as ledger:
        roles = {"owner": await ledger.owner(), "guardian": await ledger.guardian()}
        for role, account in named_roles.items():
            if account is not None and ledger.node.checksum(account) != roles[role]:
                raise WrongLedgerError(
                    f"The ledger that {record} tells of is there already: its {role} is {roles[role]}, not {account}. "
                    "Let its owner change that, or move the record away to deploy another ledger."
                )


async def verify(rpc_url: str, address: str) -> int:
    """Compare the code on chain with the committed artefact, byte for byte by its hash; return the chain's id.

    Raises WrongLedgerError with a sentence when there is no such ledger.
    """
    async with Ledger(rpc_url, address) as ledger:
        return await ledger.check()


def _read(record: Path) -> Record | None:
    """Return the content of a record file, None where there is none. Raises ValueError for any other file."""
    if not record.exists():
        return None
    try:
        stored = json.loads(record.read_text(encoding="utf-8"))
        complete = isinstance(stored, dict) and {"chain_id", "address", "tx"} <= stored.keys()
    except ValueError:
        complete = False
    if not complete or not ({"raw", "block"} & stored.keys()):
        raise ValueError(f"{record} is not the record of a deployment; move it away to deploy anew.")
    return cast(Record, stored)


def _write(record: Path, content: Record) -> None:
    """Replace a record file by a complete new one, which only its owner can read."""
    record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(record, json.dumps(content, indent=1).encode())
