"""The checks of the video host, the relayer's key, the ledger and its chain."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import func, select

from bot.doctor.check import Check, Look
from bot.doctor.database import is_up_to_date, read_database
from bot.domain.errors import OperatorError
from bot.settings import Settings
from bot.signer import open_signer
from bot.video_hosts import open_host
from contracts.ledger.client import Ledger
from contracts.relayer.finality import DEV_CHAINS
from migrations.schema import chain_transactions
from migrations.states.ledger import TransactionKind

ENOUGH_BATCHES = 20
USUAL_GAS = 400_000  # of a batch, before there is one to measure: a hundred votes on a few videos
NO_KEY_REMEDY = "Run `flock deploy --new-key`, which makes it, or set FLOCK_KEYSTORE to the keystore that you have."
MOST_AHEAD_S, MOST_BEHIND_S = 60.0, 900.0


async def host(settings: Settings) -> Sequence[Check]:
    """Check that the video host accepts our key; nothing is made there."""
    api = open_host(settings)
    try:
        await api.check()
    finally:
        await api.aclose()
    return [Check(True, "video host", "answers, and accepts the key")]


async def key(settings: Settings) -> Sequence[Check]:
    """Check that the key can be opened, and a keystore by its owner alone."""
    if settings.signer == "keystore" and settings.keystore is not None and not settings.keystore.exists():
        return [Check(False, "relayer's key", f"the file {settings.keystore} does not exist", NO_KEY_REMEDY)]
    signer = await open_signer(settings)
    return [Check(True, "relayer's key", f"opens account {signer.address}")]


async def ledger(settings: Settings) -> Sequence[Check]:
    """Check that our code is at the address and not paused, and that the chain goes on by our clock."""
    async with Ledger(settings.rpc_url or "", settings.ledger_address or "") as contract:
        chain_id = await contract.check()
        if await contract.paused():
            remedy = "Ask the ledger's owner to unpause it; nothing is lost meanwhile."
            return [Check(False, "ledger", "its guardian has paused it", remedy)]
        with contract.node.asking():
            block = await contract.node.web3.eth.get_block("latest")
            syncing = await contract.node.web3.eth.syncing
    return [Check(True, "ledger", f"this version's VoteLedger, on chain {chain_id}"), _chain(chain_id, block, syncing)]


def _chain(chain_id: int, block: object, syncing: object) -> Check:
    number, stamp = int(block["number"]), int(block["timestamp"])  # type: ignore[index]  # a block by its fields
    behind = time.time() - stamp
    if syncing:
        return Check(False, "chain", f"the node has only reached block {number}", "Wait for it, or use another node.")
    if behind < -MOST_AHEAD_S:
        return Check(False, "chain", f"its clock is {-behind:.0f} s ahead of ours", "Set this machine's clock (NTP).")
    if behind > MOST_BEHIND_S and chain_id not in DEV_CHAINS:
        detail = f"the node's latest block {number} is {behind / 60:.0f} minutes old"
        return Check(False, "chain", detail, "Use another node, or set this machine's clock (NTP).")
    return Check(True, "chain", f"block {number}; its clock agrees with ours")


async def relayer(settings: Settings) -> Sequence[Check]:
    """Check that our account may write to the ledger, and can pay for it for a while."""
    gas = await _gas_of_a_batch(settings)
    async with Ledger(settings.rpc_url or "", settings.ledger_address or "") as contract:
        await contract.check()
        address = (await open_signer(settings)).address
        if not await contract.is_relayer(address):
            remedy = f"Ask the ledger's owner to call set_relayer({address}, true), or use the relayer's keystore."
            return [Check(False, "relayer", f"{address} is no relayer of the ledger", remedy)]
        balance, fees = await contract.node.balance(address), await contract.node.fees()
    batches = balance // max(1, gas * fees.maximum)
    detail = f"{address} has {balance / 10**18:.6f} coins, enough for {_many(batches)} batches at the current price"
    if batches < ENOUGH_BATCHES:
        remedy = "Send it some of the chain's coin: without it votes wait in the outbox."
        return [Check(False, "relayer", detail, remedy)]
    return [Check(True, "relayer", detail)]


async def _gas_of_a_batch(settings: Settings) -> int:
    query = select(func.avg(chain_transactions.c.gas_used)).where(chain_transactions.c.kind == TransactionKind.VOTES)
    try:
        if await is_up_to_date(settings):
            return int(await read_database(settings, lambda connection: connection.scalar(query)) or USUAL_GAS)
    except OperatorError:
        pass  # the check of the database reports that it does not answer
    return USUAL_GAS


def _many(count: int) -> str:
    return f"{count}" if count < 10_000 else "more than 10,000"


_HOST = ("video_host", "livepeer_api_base", "watch_page", "s3_endpoint", "s3_public_url", "s3_path_style")
_CHAIN = ("rpc_url", "ledger_address")
_SIGNER = ("signer",)
LOOKS = (
    Look(
        "video host",
        host,
        "Check FLOCK_LIVEPEER_API_BASE and FLOCK_LIVEPEER_API_KEY, or FLOCK_S3_….",
        ("has_video_host",),
        _HOST,
    ),
    Look("relayer's key", key, "Check FLOCK_SIGNER, FLOCK_KEYSTORE and FLOCK_KEYSTORE_PASSWORD.", ("signs",), _SIGNER),
    Look("ledger", ledger, "Check FLOCK_RPC_URL and FLOCK_LEDGER_ADDRESS, or run `flock deploy`.", _CHAIN),
    Look(
        "relayer",
        relayer,
        "Mend the ledger or the key first, as said above.",
        (*_CHAIN, "signs"),
        _SIGNER,
        rests_on=("ledger", "relayer's key"),
    ),
)
