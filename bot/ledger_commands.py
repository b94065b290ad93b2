"""`flock deploy` and `flock audit`: the operator's and the auditor's side of the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict

from eth_utils.address import is_address

from bot.app import open_signer, secret
from bot.database import open_and_upgrade
from bot.domain.errors import OperatorError
from bot.settings import Settings
from contracts.audit import audit
from contracts.deploy import deploy, verify
from contracts.node import LedgerError
from contracts.signer import SignerError, create_keystore


async def deploy_ledger(
    settings: Settings, *, new_key: bool, as_json: bool, owner: str | None = None, guardian: str | None = None
) -> str:
    """Deploys once: the record beside the data remembers it. Roles that are not named go to the relayer's own account.

    Raises OperatorError, also for an address that is none.
    """
    for role, address in (("owner", owner), ("guardian", guardian)):
        if address is not None and not is_address(address):
            raise OperatorError(f"--{role} must be an address: 0x and 40 hex digits, with its checksum if mixed case.")
    keystore = settings.keystore
    if new_key and keystore is not None and not keystore.exists():
        try:
            address = await create_keystore(keystore, secret(settings.keystore_password))
        except SignerError as error:
            raise OperatorError(f"{error} Set FLOCK_KEYSTORE_PASSWORD first.") from error
        return f"Made {keystore}. Send some of the chain's coin to {address}, then run `flock deploy` again.\n"
    signer = await open_signer(settings)
    try:
        record = settings.data_dir / "ledger.json"
        deployment = await deploy(settings.rpc_url or "", signer, record, owner=owner, guardian=guardian)
    except (LedgerError, ValueError) as error:
        raise OperatorError(str(error)) from error
    if as_json:
        return json.dumps(asdict(deployment)) + "\n"
    return (
        f"The VoteLedger is at {deployment.address} on chain {deployment.chain_id} "
        f"(block {deployment.block}, transaction {deployment.tx}).\n"
        f"Put this into .env:\nFLOCK_LEDGER_ADDRESS={deployment.address}\n"
    )


async def verify_ledger(settings: Settings) -> str:
    """Compares the code on chain with the committed artefact. Raises OperatorError where they differ."""
    try:
        chain_id = await verify(settings.rpc_url or "", settings.ledger_address or "")
    except (LedgerError, ValueError) as error:
        raise OperatorError(str(error)) from error
    return f"The code at {settings.ledger_address} on chain {chain_id} is this version's VoteLedger.\n"


async def audit_ledger(
    settings: Settings, *, round_number: int | None, chain_only: bool, as_json: bool
) -> tuple[bool, str]:
    """Whether everything agrees, and the report. Raises OperatorError when the chain cannot be read."""
    database = None if chain_only else await open_and_upgrade(settings)
    try:
        report = await audit(
            settings.rpc_url or "",
            settings.ledger_address or "",
            round=round_number,
            database=database,
            pepper=secret(settings.voter_pepper).encode() or None,
        )
    except (LedgerError, LookupError, ValueError) as error:
        raise OperatorError(str(error)) from error
    finally:
        if database is not None:
            await database.dispose()
    if as_json:
        return report.ok, json.dumps(report.to_json()) + "\n"
    lines = [
        f"{'✓' if report.ok else '✗'} {report.votes} votes in {report.batches} batches, recomputed from the chain."
    ]
    lines += [f"  - {problem}" for problem in report.problems]
    return report.ok, "\n".join(lines) + "\n"
