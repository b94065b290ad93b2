"""A relayer as a process of its own, which may be told at which step to kill itself (SIGKILL).

`python -m tests.builders.relayer_process`, with one JSON object of options on standard input. Ends by itself, with
one line of JSON, once nothing is left to do.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger.client import Ledger
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.rpc.node import LedgerError
from contracts.signers.keystore import open_key_file
from migrations.database import open_database

ROOT = Path(__file__).parents[2]
STEPS = ("before sign", "after sign", "after persist", "after send", "after receipt", "before final")
PASSING = ("lost its lease", "outbox changed")  # trouble that two relayers on one database make each other


def options(engine: AsyncEngine, ledger: Ledger, chain: Any, **more: Any) -> dict[str, Any]:
    database = f"sqlite:///{engine.url.database}"
    return {"database": database, "url": chain.url, "ledger": ledger.address, "key": chain.ready["key_file"], **more}


def start(wanted: dict[str, Any]) -> subprocess.Popen[str]:
    """Starts one; `main` says which options it takes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.builders.relayer_process"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(wanted))
    process.stdin.close()
    return process


async def end(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    """The process's exit status, and what it said. Raises TimeoutExpired while it goes on."""
    assert process.stdout is not None
    assert process.stderr is not None
    status = await asyncio.to_thread(process.wait, seconds)
    said, errors = process.stdout.read(), process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    return status, said, errors


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(relayer: Any, step: str, kind: str) -> None:
    """Dies at a step of the first transaction of a kind."""
    transactions = relayer.transactions
    broadcast, settlement = transactions.broadcast, transactions.settlement
    store, send = transactions.store, broadcast.send
    record_inclusion, record_finality = settlement.record_inclusion, settlement.record_finality
    sign = relayer._signer.sign

    async def at_store(draft: Any) -> None:
        if draft.kind == kind and step in ("before sign", "after sign"):

            async def at_sign(transaction: Any) -> Any:
                if step == "after sign":
                    await sign(transaction)
                die()

            relayer._signer.sign = at_sign
        await store(draft)
        if draft.kind == kind and step == "after persist":
            die()

    async def at_send(row: Any, chain_id: int) -> bool:
        told = await send(row, chain_id)
        if row.kind == kind and step == "after send":
            die()
        return bool(told)

    async def at_receipt(row: Any, receipt: Any) -> None:
        if row.kind == kind and step == "after receipt":
            die()
        await record_inclusion(row, receipt)

    async def at_final(row: Any, receipt: Any) -> None:
        if row.kind == kind and step == "before final":
            die()
        await record_finality(row, receipt)

    transactions.store, broadcast.send = at_store, at_send
    settlement.record_inclusion, settlement.record_finality = at_receipt, at_final


async def main(options: dict[str, Any]) -> None:
    """`database`, `url`, `ledger` and `key` (a file); `step` and `kind` say where it dies.

    With `patient` it tries again after trouble of any kind; without, it ends with the error.
    """
    engine = open_database(options["database"])
    settings = RelayerSettings(
        drafts=DraftSettings(flush_votes=500, flush_age_s=0.0, confirm_s=0.0),
        poll_s=0.02,
        rebroadcast_s=0.05,
        recheck_s=0.0,
        lease_s=2.0,
        chain_id=options.get("chain_id"),
        confirmations=options.get("confirmations", 1),
    )
    async with Ledger(options["url"], options["ledger"]) as ledger:
        relayer = Relayer(engine, ledger, open_key_file(Path(options["key"])), settings)
        if "step" in options:
            arm(relayer, options["step"], options["kind"])
        sent = 0
        quiet = 0
        while quiet < 5:
            before = (await relayer.status()).backlog
            try:
                await relayer.tick()
            except LedgerError as error:
                if not options.get("patient") and not any(words in str(error) for words in PASSING):
                    raise
            status = await relayer.status()
            sent += status.active and before > status.backlog
            quiet = quiet + 1 if status.backlog == 0 and status.in_flight == 0 else 0
            await asyncio.sleep(0.02)
    await engine.dispose()
    sys.stdout.write(json.dumps({"done": True, "sent": sent}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))
