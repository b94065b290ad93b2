"""`flock deploy`, `audit` and `costs`: the operator's and the auditor's side of the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict

from eth_utils.address import is_address

from bot.app import open_signer, secret
from bot.database import open_and_upgrade
from bot.domain.errors import OperatorError
from bot.settings import Settings
from contracts.audit import audit
from contracts.coin import COIN, GWEI
from contracts.costs import ARBITRUM_BASE_FEE, ARBITRUM_DATA_FEES, Community, Cost, costs, measured, on_arbitrum
from contracts.deploy import deploy, verify
from contracts.node import Fees, LedgerError, Node
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


async def estimate_costs(settings: Settings, community: Community, *, usd: float, as_json: bool) -> str:
    """What a round costs: on the configured chain at its fee of now, and on Arbitrum One on paper.

    `usd` is the price of one ETH. Raises OperatorError when the chain that is configured does not answer.
    """
    told = costs(community, measured())
    gas = sum(cost.gas for cost in told)
    here = await _fees(settings.rpc_url) if settings.rpc_url else None
    quiet, busy = on_arbitrum(community, gas)
    if as_json:
        return _costs_json(community, gas, told, here, (quiet, busy), usd)
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
        f"  Assumed: {ARBITRUM_BASE_FEE / GWEI:g} gwei for a unit of gas, the least that is asked there; data at "
        f"{ARBITRUM_DATA_FEES[0] / GWEI:g} to {ARBITRUM_DATA_FEES[1] / GWEI:g} gwei; ${usd:,.0f} for one ETH.",
    ]
    return "\n".join(lines) + "\n"


def _costs_json(
    community: Community,
    gas: int,
    told: list[Cost],
    here: tuple[int, Fees] | None,
    paper: tuple[float, float],
    usd: float,
) -> str:
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
        "arbitrum_one_on_paper": {**arbitrum, "eth_usd": usd},
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
