"""The relayer: votes a second until all are in blocks, seconds from a click to its block, and faults it survives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from contracts.outbox import entries as outbox
from contracts.relayer.relayer import Relayer, RelayerSettings
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import chain_transactions, votes
from migrations.schema import outbox as entries
from tests.benchmarks.figures import Figure
from tests.builders.anvil import MISSING, Anvil, anvil
from tests.builders.chain_process import ChainProcess
from tests.builders.relayed_community import PEPPER, Community
from tests.builders.relayer_process import STEPS
from tests.builders.relayer_schedules import World, schedule

VIDEOS = [f"video-{number}" for number in range(10)]
PRODUCTION = RelayerSettings()  # as the bot has it, where no setting says otherwise
FLUSH = f"after {PRODUCTION.drafts.flush_age_s:g} s or {PRODUCTION.drafts.flush_votes:,} votes"
PATIENCE_S = 300
LOOK_S = 0.05


async def measure(
    *,
    votes: int = 10_000,
    members: int = 1_000,
    seconds: float = 60,
    per_s: int = 20,
    schedules: int = 20,
    length: int = 12,
    steps: Sequence[str] = STEPS,
    flush_age_s: float = PRODUCTION.drafts.flush_age_s,
) -> list[Figure]:
    """Throughput on both chains, the latency of a steady stream, and schedules of faults.

    What needs anvil is left out, with a word on stderr, where there is none; the latency is then the embedded chain's.
    """
    with tempfile.TemporaryDirectory() as folder:
        there = _Place(Path(folder), flush_age_s)
        await upgrade_database(f"sqlite:///{there.empty}")
        embedded = await asyncio.to_thread(ChainProcess, there.folder / "chain")
        try:
            figures = [await _throughput(there, "embedded", embedded, votes, members)]
            if anvil() is None:
                sys.stderr.write(f"relay: relay_votes_per_s_anvil and faults_survived are left out. {MISSING}\n")
                return figures + await _latency(there, embedded, seconds, per_s, "blocks at once")
        finally:
            await asyncio.to_thread(embedded.stop)
        node = await asyncio.to_thread(Anvil, there.folder / "anvil.json")
        try:
            await node.fresh()
            figures.append(await _throughput(there, "anvil", node, votes, members))
            await node.rpc("evm_setIntervalMining", 1)
            figures += await _latency(there, node, seconds, per_s, "a block each second")
            await node.rpc("evm_setIntervalMining", 0)
            figures.append(await _faults(there, node, schedules, length, steps))
        finally:
            await asyncio.to_thread(node.stop)
    return figures


class _Place:
    """Where databases lie, and how long votes are gathered."""

    def __init__(self, folder: Path, flush_age_s: float) -> None:
        self.folder = folder
        self.empty = folder / "empty.db"
        self.settings = replace(PRODUCTION, drafts=replace(PRODUCTION.drafts, flush_age_s=flush_age_s))


class _Round:
    """A round of ten videos on a ledger of its own, and a relayer at work."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger, url: str) -> None:
        self.community = Community(engine)
        self.engine = engine
        self.ledger = ledger
        self.url = url
        self.id = 0

    async def cast(self, choices: Sequence[tuple[str, int, int]]) -> None:
        """New votes, each (video, member, choice), as the bot writes them: vote and outbox row in one transaction."""
        given = [
            {"video_id": video, "member_id": member, "choice": choice, "source": "button", "cast_at_ms": now_ms()}
            for video, member, choice in choices
        ]
        rows = [(self.id, video, outbox.voter_id(PEPPER, 7, member), choice) for video, member, choice in choices]
        async with self.engine.begin() as connection:
            await connection.execute(insert(votes), given)
            await outbox.record_votes(connection, outbox.vote_rows(rows))

    async def included(self, wanted: int) -> dict[int, float]:
        """Waits until so many votes are in blocks; the seconds that each took since it was written, by its entry."""
        query = (
            select(entries.c.id, entries.c.created_at_ms)
            .join(chain_transactions, chain_transactions.c.id == entries.c.transaction_id)
            .where(entries.c.kind == "vote", chain_transactions.c.block_number.is_not(None))
        )
        took: dict[int, float] = {}
        async with asyncio.timeout(PATIENCE_S):
            while len(took) < wanted:
                await asyncio.sleep(LOOK_S)
                async with self.engine.connect() as connection:
                    seen = (await connection.execute(query.where(entries.c.id.not_in(took) if took else True))).all()
                now = now_ms()
                took |= {row.id: (now - row.created_at_ms) / 1000 for row in seen}
        return took

    async def check(self) -> None:
        """Raises where the chain holds anything else than the database."""
        report = await audit(self.url, self.ledger.address, database=self.engine, pepper=PEPPER)
        if not report.ok:
            raise AssertionError(f"The audit found: {report.problems}")


@contextlib.asynccontextmanager
async def _round(there: _Place, chain: Any) -> AsyncIterator[_Round]:
    """The round and its videos are on the chain when it begins; the relayer works until it ends."""
    with tempfile.TemporaryDirectory(dir=there.folder) as folder:
        shutil.copy(there.empty, f"{folder}/flock.db")
        engine = open_database(f"sqlite:///{folder}/flock.db")
        deployment = await deploy(chain.url, chain.signer, Path(folder) / "ledger.json")
        async with Ledger(chain.url, deployment.address) as ledger:
            made = _Round(engine, ledger, chain.url)
            made.id = await made.community.round()
            for video in VIDEOS:
                await made.community.video(made.id, video)
            working = asyncio.create_task(Relayer(engine, ledger, chain.signer, there.settings).run())
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while await made.community.states() != {"final": 1 + len(VIDEOS)}:
                        await asyncio.sleep(LOOK_S)
                yield made
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
                await engine.dispose()


async def _throughput(there: _Place, name: str, chain: Any, wanted: int, members: int) -> Figure:
    """From the commit of all votes until each of them is in a block; the members are new to the ledger."""
    choices = [(VIDEOS[n // members % len(VIDEOS)], 1 + n % members, 1 + n % 2) for n in range(wanted)]
    async with _round(there, chain) as held:
        begun = time.perf_counter()
        await held.cast(choices)
        await held.included(wanted)
        seconds = time.perf_counter() - begun
        await held.check()
        sent = {kind: len(await held.community.sent(kind)) for kind in ("votes", "voters")}
    beside = (
        f"{wanted:,} votes on {len(VIDEOS)} videos in {sent['votes']} batches, all in blocks after {seconds:.1f} s, "
        f"{sent['voters']} transactions that register the {members:,} voters included; sent {FLUSH}; blocks at once"
    )
    return Figure(f"relay_votes_per_s_{name}", round(wanted / seconds), beside)


async def _latency(there: _Place, chain: Any, seconds: float, per_s: int, pace: str) -> list[Figure]:
    """From the commit of each vote until the relayer knows its block; votes come one by one, evenly."""
    wanted = round(seconds * per_s)
    async with _round(there, chain) as held:
        looking = asyncio.create_task(held.included(wanted))
        begun = time.perf_counter()
        for number in range(wanted):
            await held.cast([(VIDEOS[number % len(VIDEOS)], 1 + number // len(VIDEOS), 1 + number % 2)])
            await asyncio.sleep(max(0.0, begun + (number + 1) / per_s - time.perf_counter()))
        took = sorted((await looking).values())
        await held.check()
        batches = len(await held.community.sent("votes"))
    drafts = there.settings.drafts
    beside = (
        f"{wanted:,} votes, {per_s} a second, in {batches} batches; {pace}; votes wait up to {drafts.flush_age_s:g} s "
        f"to be gathered, which is most of it, and new voters are registered first; the longest took {took[-1]:.1f} s"
    )
    cuts = statistics.quantiles(took, n=100)
    return [
        Figure("relay_latency_p50_s", round(cuts[49], 1), beside),
        Figure("relay_latency_p99_s", round(cuts[98], 1), beside),
    ]


async def _faults(there: _Place, node: Anvil, schedules: int, length: int, steps: Sequence[str]) -> Figure:
    """A SIGKILL at each step, and random schedules of everything else; what did not strike is not counted."""
    played = [_killing(step) for step in steps]
    played += [schedule(random.Random(seed), length) for seed in range(schedules)]  # noqa: S311  # the same in each run
    survived: Counter[str] = Counter()
    logging.getLogger("contracts").setLevel(logging.CRITICAL)  # of all this trouble it has much to say
    for number, actions in enumerate(played):
        with tempfile.TemporaryDirectory(dir=there.folder) as folder:
            shutil.copy(there.empty, f"{folder}/flock.db")
            world = World(node, Path(folder), confirmations=1 + number % 3)
            try:
                await world.play(actions)
            except AssertionError as error:
                raise AssertionError(f"Schedule {number} did not end well: {actions}") from error
            survived += world.survived
    by_kind = dict(sorted((+survived).items(), key=lambda item: item[0].lower()))
    told = ", ".join(f"{kind} {count}" for kind, count in by_kind.items())
    beside = (
        f"in {len(played)} schedules; after each, every last choice was on the chain, each batch once and in order, by "
        f"the contract and by the audit: {told}"
    )
    return Figure("faults_survived", survived.total(), beside, by_kind=by_kind)


def _killing(step: str) -> list[tuple[Any, ...]]:
    return [("vote", 1, 1), ("tick", 3), ("vote", 1, 2), ("vote", 2, 1), ("kill", step), ("vote", 3, 1), ("tick", 2)]
