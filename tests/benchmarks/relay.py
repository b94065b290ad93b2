"""The relayer: votes a second until they are in a block, seconds from a click to its block, and faults survived."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit import audit
from contracts.deploy import deploy
from contracts.drafting import DraftSettings
from contracts.ledger import Ledger
from contracts.relayer import Relayer, RelayerSettings
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import chain_transactions
from migrations.schema import outbox as entries
from tests.benchmarks.figures import Figure
from tests.contracts.anvil import MISSING, Anvil, anvil
from tests.contracts.conftest import ChainProcess
from tests.contracts.relayer_process import STEPS
from tests.contracts.schedules import World, schedule
from tests.contracts.test_relayer import PEPPER, Community, ballots
from tests.contracts.test_relayer_process import end, options, start

VIDEOS = [str(number) for number in range(1, 11)]
SETTLED_S = 300.0


async def measure(
    *, votes: int = 5_000, members: int = 1_000, seconds: float = 45.0, per_s: int = 20, schedules: int = 40
) -> list[Figure]:
    """Throughput on both chains; the latency of a steady stream, and random schedules of faults, on anvil."""
    with tempfile.TemporaryDirectory() as folder:
        migrated = Path(folder) / "empty.db"
        await upgrade_database(f"sqlite:///{migrated}")
        figures = [await _throughput("embedded", ChainProcess(Path(folder) / "chain"), migrated, votes, members)]
        if anvil() is None:
            sys.stderr.write(f"relay: no figures of anvil. {MISSING}\n")
            return figures
        node = Anvil(Path(folder) / "anvil.json")
        try:
            await node.fresh()
            figures.append(await _throughput("anvil", node, migrated, votes, members, stop=False))
            figures += await _latency(node, migrated, seconds, per_s, members)
            figures.append(await _faults(node, migrated, schedules))
        finally:
            node.stop()
    return figures


@asynccontextmanager
async def _open(chain: Any, migrated: Path) -> AsyncIterator[tuple[Community, Ledger]]:
    """An empty database, and a new ledger on the chain."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(migrated, f"{folder}/flock.db")
        engine = open_database(f"sqlite:///{folder}/flock.db")
        try:
            deployment = await deploy(chain.url, chain.signer, Path(folder) / "ledger.json")
            async with Ledger(chain.url, deployment.address) as ledger:
                yield Community(engine), ledger
        finally:
            await engine.dispose()


@asynccontextmanager
async def _relaying(community: Community, ledger: Ledger, chain: Any, drafts: DraftSettings) -> AsyncIterator[Relayer]:
    """A round with its videos on the chain, and a relayer at work."""
    round_id = await community.round()
    for video in VIDEOS:
        await community.video(round_id, video)
    relayer = Relayer(community.engine, ledger, chain.signer, RelayerSettings(drafts=drafts, poll_s=0.25))
    running = asyncio.create_task(relayer.run())
    try:
        await _included(community.engine)
        yield relayer
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _included(engine: AsyncEngine) -> None:
    """Until everything in the outbox is in a block."""
    query = (
        select(func.count())
        .select_from(entries)
        .outerjoin(chain_transactions, chain_transactions.c.id == entries.c.transaction_id)
        .where(entries.c.state.in_(("pending", "batched")), chain_transactions.c.block_number.is_(None))
    )
    async with asyncio.timeout(SETTLED_S):
        while True:
            async with engine.connect() as connection:
                if not await connection.scalar(query):
                    return
            await asyncio.sleep(0.05)


async def _throughput(name: str, chain: Any, migrated: Path, votes: int, members: int, *, stop: bool = True) -> Figure:
    """All votes stand in the outbox already; registration of the voters is part of it."""
    try:
        async with _open(chain, migrated) as (community, ledger):
            async with _relaying(community, ledger, chain, DraftSettings(flush_age_s=0.0)):
                since = time.perf_counter()
                for video in VIDEOS:
                    cast = [(1 + member % members, 1 + member % 2) for member in range(votes // len(VIDEOS))]
                    await community.vote(1, video, *cast)
                await _included(community.engine)
                took = time.perf_counter() - since
            batches = len(await community.sent("votes"))
            report = await audit(chain.url, ledger.address, database=community.engine, pepper=PEPPER)
            assert report.ok, report.problems
    finally:
        if stop:
            chain.stop()
    beside = f"{votes:,} votes on {len(VIDEOS)} videos in {batches} batches, voters' registration included"
    return Figure(f"relay_votes_per_s_{name}", round(votes / took, 1), beside)


async def _latency(node: Anvil, migrated: Path, seconds: float, per_s: int, members: int) -> list[Figure]:
    """Each vote from its commit to the moment at which its block is known; settings as in production."""
    await node.fresh()
    async with (
        _open(node, migrated) as (community, ledger),
        _relaying(community, ledger, node, DraftSettings()) as relayer,
    ):
        await node.rpc("evm_setIntervalMining", 1)
        watching = asyncio.create_task(_watch(community.engine, round(seconds * per_s)))
        for number in range(round(seconds * per_s)):
            await community.vote(1, VIDEOS[number % 10], (1 + number % members, 1 + number % 2))
            relayer.nudge()
            await asyncio.sleep(1 / per_s)
        took = sorted(await watching)
        await node.rpc("evm_setIntervalMining", 0)
    drafts = DraftSettings()
    beside = (
        f"{len(took):,} votes, {per_s} a second, a block each second; votes are gathered for up to "
        f"{drafts.flush_age_s:.0f} s or {drafts.flush_votes:,}, which is most of it"
    )
    return [
        Figure("relay_latency_p50_s", round(took[len(took) // 2], 1), beside),
        Figure("relay_latency_p99_s", round(took[len(took) * 99 // 100], 1), beside),
    ]


async def _watch(engine: AsyncEngine, wanted: int) -> Sequence[float]:
    """Seconds of each vote, as its block becomes known."""
    query = (
        select(entries.c.id, entries.c.created_at_ms)
        .join(chain_transactions, chain_transactions.c.id == entries.c.transaction_id)
        .where(entries.c.kind == "vote", chain_transactions.c.block_number.is_not(None))
    )
    took: dict[int, float] = {}
    async with asyncio.timeout(SETTLED_S):
        while len(took) < wanted:
            async with engine.connect() as connection:
                found = (await connection.execute(query)).all()
            now = now_ms()
            for row in found:
                took.setdefault(row.id, (now - row.created_at_ms) / 1000)
            await asyncio.sleep(0.1)
    return list(took.values())


async def _faults(node: Anvil, migrated: Path, schedules: int) -> Figure:
    """Random schedules, and SIGKILL at each step: after each, all is on the chain once, as it was chosen last."""
    counted: Counter[str] = Counter()
    for number in range(schedules):
        actions = schedule(random.Random(number), 12)  # noqa: S311  # the same schedules in every run
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(migrated, f"{folder}/flock.db")
            world = World(node, Path(folder), 1 + 2 * (number % 2))
            await world.play(actions)  # raises where anything is lost
            counted += world.survived
    with tempfile.TemporaryDirectory() as folder:
        chain = ChainProcess(Path(folder) / "chain")
        try:
            for step in STEPS if schedules > 1 else STEPS[:1]:
                await _killed(chain, migrated, step)
                counted["SIGKILL " + step] += 1
        finally:
            chain.stop()
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(counted.items()))
    return Figure("faults_survived", counted.total(), f"nothing lost, nothing twice, audited each time: {listed}")


async def _killed(chain: ChainProcess, migrated: Path, step: str) -> None:
    async with _open(chain, migrated) as (community, ledger):
        round_id = await community.round()
        await community.video(round_id, "a")
        await community.vote(round_id, "a", (1, 1), (2, 2))
        killed = await end(start(options(community.engine, ledger, chain, step=step, kind="votes")))
        assert killed[0] == -signal.SIGKILL, killed
        ended = await end(start(options(community.engine, ledger, chain)))
        assert ended[0] == 0, ended
        assert await ballots(ledger, 1, 2) == [1, 2]
        assert [row.seq for row in await community.sent("votes")] == list(range(await ledger.seq()))
        report = await audit(chain.url, ledger.address, database=community.engine, pepper=PEPPER)
        assert report.ok, report.problems
