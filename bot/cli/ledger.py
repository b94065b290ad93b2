"""`flock deploy`, `audit` and `costs`: the operator's and the auditor's side of the ledger."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from eth_utils.address import is_address

from bot.app import open_signer, secret
from bot.database import open_and_upgrade
from bot.domain.errors import OperatorError
from bot.domain.ledger_links import deployed_in
from bot.settings import Settings
from contracts.audit.audit import audit
from contracts.costs import LEFT_OUT, Community, Cost, assumptions, costs, measured, on_arbitrum
from contracts.deploy import deploy, verify
from contracts.rpc.node import Fees, LedgerError, Node
from contracts.signers.keystore import SignerError, create_keystore
from contracts.units import COIN, GWEI
from migrations.database import parse_url

TELL_S = 5.0  # between two words on how far a log was read


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
    settings: Settings,
    *,
    round_number: int | None,
    chain_only: bool,
    as_json: bool,
    with_database: bool = False,
    since: int | None = None,
) -> tuple[bool, str]:
    """Whether everything agrees, and the report. A database that is not there is never made.

    Raises OperatorError when the chain cannot be read, and `with_database` where there is none.
    """
    if since is not None and since < 0:
        raise OperatorError("--since must be the number of a block: 0 or more.")
    there = _is_there(settings)
    if with_database and not there:
        raise OperatorError("There is no database at FLOCK_DATABASE_URL; without --with-database the chain is enough.")
    database = await open_and_upgrade(settings) if there and not chain_only else None
    address, scan = settings.ledger_address or "", Scan()
    try:
        report = await audit(
            settings.rpc_url or "",
            address,
            round=round_number,
            database=database,
            pepper=secret(settings.voter_pepper).encode() or None,
            since=since if since is not None else deployed_in(settings.data_dir / "ledger.json", address),
            progress=scan.reached,
        )
    except (LedgerError, LookupError, ValueError) as error:
        raise OperatorError(str(error)) from error
    finally:
        if database is not None:
            await database.dispose()
    if not there and not chain_only:
        report.notes.append("There is no database here to compare with: this is the chain's side alone.")
    if as_json:
        return report.ok, json.dumps(report.to_json()) + "\n"
    lines = [
        f"{'✓' if report.ok else '✗'} {report.votes} votes in {report.batches} batches, recomputed from the chain."
    ]
    lines += [f"  - {problem}" for problem in report.problems]
    lines += [f"  {note}" for note in report.notes]
    return report.ok, "\n".join(lines) + "\n"


def _is_there(settings: Settings) -> bool:
    """Whether there is a database: a server's is taken to be there, SQLite's is a file."""
    file = parse_url(settings.database_url)
    return file.get_backend_name() != "sqlite" or Path(file.database or "").is_file()


class Scan:
    """Tells on standard error how far a long log has been read, a few times a minute."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def reached(self, block: int, last: int) -> None:
        """Called with each block up to which the log was asked for, and the one where it ends."""
        if block < last and time.monotonic() - self._told >= TELL_S:
            self._told = time.monotonic()
            sys.stderr.write(f"Read the log up to block {block:,} of {last:,}.\n")
            sys.stderr.flush()


async def estimate_costs(settings: Settings, community: Community, *, usd: float, as_json: bool) -> str:
    """What a round costs: on the configured chain at its fee of now, and on Arbitrum One on paper.

    `usd` is the price of one ETH. Raises OperatorError when the chain that is configured does not answer.
    """
    told = costs(community, measured())
    gas = sum(cost.gas for cost in told)
    here = await _fees(settings.rpc_url) if settings.rpc_url else None
    quiet, busy = on_arbitrum(told)
    assumed = assumptions(community.batch)
    if as_json:
        return _costs_json(community, gas, told, here, (quiet, busy), {**assumed, "eth_usd": usd})
    count = sum(cost.count for cost in told)
    lines = [
        f"A round of {community.videos:,} videos, {community.votes:,} votes of {community.voters:,} members "
        f"({community.new_voters:,} of them new), up to {community.batch:,} votes in a batch:",
        *(f"{cost.count:>8,} × {cost.what:<22}{cost.gas:>14,} gas" for cost in told),
        f"{count:>8,} transactions in all {gas:>16,} gas, {gas / community.votes:,.0f} a vote",
        "",
    ]
    if here is None:
        lines.append("On your chain: set FLOCK_RPC_URL to see what that costs now.")
    else:
        chain_id, fees = here
        fee = fees.base + fees.tip
        lines.append(
            f"On chain {chain_id} now, at {fee / GWEI:.4g} gwei for a unit of gas: {gas * fee / COIN:.6f} coin."
        )
        lines.append("A rollup asks for its data besides; its own estimate of a transaction has both.")
    lines += [
        f"On Arbitrum One, on paper: {quiet:.6f} to {busy:.6f} ETH, ${quiet * usd:,.2f} to ${busy * usd:,.2f}.",
        f"  Assumed: {assumed['gwei_a_gas']:g} gwei for a unit of gas, the least that is asked there; "
        f"{assumed['data_gas_a_byte']:g} units of data gas a byte, at {assumed['gwei_a_data_gas_least']:g} to "
        f"{assumed['gwei_a_data_gas_most']:g} gwei; ${usd:,.0f} for one ETH.",
        f"  Compressed bytes: {assumed['bytes_a_vote']:g} a vote, {assumed['bytes_a_voter']:g} a new voter, "
        f"{assumed['bytes_a_video']:g} a video, {assumed['bytes_a_transaction']:g} a transaction besides; "
        f"{sum(cost.data_bytes for cost in told):,} in all.",
        f"  {LEFT_OUT}",
    ]
    return "\n".join(lines) + "\n"


def _costs_json(
    community: Community,
    gas: int,
    told: list[Cost],
    here: tuple[int, Fees] | None,
    paper: tuple[float, float],
    assumed: dict[str, float],
) -> str:
    usd = assumed["eth_usd"]
    live = None
    if here is not None:
        chain_id, fees = here
        live = {"chain_id": chain_id, "wei_a_gas": fees.base + fees.tip, "wei": gas * (fees.base + fees.tip)}
    arbitrum = {"eth_least": paper[0], "eth_most": paper[1], "usd_least": paper[0] * usd, "usd_most": paper[1] * usd}
    report = {
        "round": asdict(community),
        "gas": gas,
        "transactions": [asdict(cost) for cost in told],
        "live": live,
        "arbitrum_one_on_paper": {**arbitrum, "data_bytes": sum(cost.data_bytes for cost in told), "assumed": assumed},
        "left_out": LEFT_OUT,
    }
    return json.dumps(report) + "\n"


async def _fees(rpc_url: str) -> tuple[int, Fees]:
    node = Node(rpc_url)
    try:
        return await node.chain_id(), await node.fees()
    except LedgerError as error:
        raise OperatorError(str(error)) from error
    finally:
        await node.close()
