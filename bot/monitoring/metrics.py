"""What a process tells its operator by HTTP: /metrics for Prometheus, /healthz and /readyz. Off unless a port is set.

No label holds a word or an id of a member: labels are statuses, kinds and roles, of which there are a few.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import OperatorError
from bot.store.totals import TotalsCounter
from migrations.database import now_ms
from migrations.schema import (
    executor_leases,
    leases,
    outbox,
    videos,
    workflow_attempts,
)

log = logging.getLogger(__name__)

Role = Literal["bot", "worker"]
RENDER_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)  # seconds
ACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)  # seconds
STATUSES = ("queued", "rendering", "uploading", "hosting", "posting", "published", "failed", "cancelled", "removed")
OUTBOX_STATES = ("pending", "batched", "final", "superseded", "rejected")
CHOICES = {0: "withdrawn", 1: "up", 2: "down"}
LIVE_MS = 15_000  # a lease that was renewed within this time is a living process's
DATABASE_S = 30.0  # how long the database may be away before a process counts as unhealthy

Gauges = Callable[[], Awaitable[Mapping[str, float]]]
Probe = Callable[[], Awaitable[str | None]]


@dataclass
class Watch:
    """Something that may be away for a while: `probe` says what is wrong; unhealthy after `patience` seconds of it."""

    probe: Probe
    patience: float
    _since: float | None = field(default=None, init=False)

    async def look(self) -> tuple[str | None, bool]:
        """What is wrong now, and whether it has been for too long."""
        try:
            async with asyncio.timeout(10):
                wrong = await self.probe()
        except TimeoutError:
            wrong = "it does not answer"
        if wrong is None:
            self._since = None
            return None, False
        if self._since is None:
            self._since = time.monotonic()
        return wrong, time.monotonic() - self._since >= self.patience


class Metrics:
    """The numbers of one process. `observe_ack` takes the seconds in which a vote was acknowledged."""

    def __init__(self, database: AsyncEngine, role: Role, *, gauges: Gauges | None = None) -> None:
        """`gauges` returns numbers that only this process knows, by their names."""
        self._database = database
        self._role = role
        self._gauges = gauges
        self._counting = TotalsCounter(database, RENDER_BUCKETS)
        self._registry = CollectorRegistry()
        self._families: list[Metric] = []
        self._registry.register(self)
        self._acks = (
            Histogram(
                "flock_vote_ack_seconds",
                "From a vote's arrival to its commit.",
                buckets=ACK_BUCKETS,
                registry=self._registry,
            )
            if role == "bot"
            else None
        )

    def observe_ack(self, seconds: float) -> None:
        """A vote was acknowledged after so many seconds."""
        if self._acks is not None:
            self._acks.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """What was found when `text` last looked (prometheus_client asks)."""
        return self._families

    async def text(self) -> bytes:
        """All numbers, in Prometheus' text format. What the database cannot tell now is left out."""
        families: list[Metric] = []
        try:
            families += await self._from_database()
            families.append(GaugeMetricFamily("flock_database_up", "1 where the database answers.", value=1))
        except (SQLAlchemyError, OSError):
            families.append(GaugeMetricFamily("flock_database_up", "1 where the database answers.", value=0))
        if self._gauges is not None:
            try:
                known = await self._gauges()
            except (SQLAlchemyError, OSError):
                known = {}
            families += [GaugeMetricFamily(name, name.replace("_", " "), value=value) for name, value in known.items()]
        self._families = families
        return generate_latest(self._registry)

    async def _from_database(self) -> list[Metric]:
        """The state of the whole house, as its database has it: every process tells the same."""
        now = now_ms()
        totals = await self._counting.totals()
        async with self._database.connect() as connection:
            alive = executor_leases.c.beat_at_ms >= now - LIVE_MS
            by_role = {
                str(role): int(count)
                for role, count in await connection.execute(
                    select(executor_leases.c.role, func.count()).where(alive).group_by(executor_leases.c.role)
                )
            }
            oldest_video = await connection.scalar(
                select(func.min(videos.c.created_at_ms)).where(videos.c.status.in_(("queued", "rendering")))
            )
            oldest_entry = await connection.scalar(
                select(func.min(outbox.c.created_at_ms)).where(outbox.c.state.in_(("pending", "batched")))
            )
            take_overs = await connection.scalar(select(func.sum(workflow_attempts.c.attempts)))
        renders = [(str(bound), float(totals.renders[bound])) for bound in RENDER_BUCKETS]
        return [
            _labelled("flock_videos", "Videos by status.", "status", {name: totals.videos[name] for name in STATUSES}),
            _labelled(
                "flock_outbox_entries",
                "Ledger entries by state.",
                "state",
                {s: totals.entries[s] for s in OUTBOX_STATES},
            ),
            _labelled(
                "flock_votes", "Votes as they stand.", "choice", {w: totals.votes[c] for c, w in CHOICES.items()}
            ),
            _labelled(
                "flock_processes", "Living processes.", "role", {r: by_role.get(r, 0) for r in ("bot", "worker")}
            ),
            GaugeMetricFamily(
                "flock_queue_oldest_seconds", "Age of the oldest waiting video.", value=_age(now, oldest_video)
            ),
            GaugeMetricFamily(
                "flock_outbox_oldest_seconds",
                "Age of the oldest entry not yet on chain.",
                value=_age(now, oldest_entry),
            ),
            CounterMetricFamily(
                "flock_take_overs", "Jobs taken over from dead processes.", value=float(take_overs or 0)
            ),
            _labelled("flock_batches", "Final transactions by kind.", "kind", dict(totals.batches), counter=True),
            _labelled("flock_gas_used", "Gas of final transactions.", "kind", dict(totals.gas), counter=True),
            _labelled(
                "flock_reverts",
                "Transactions by kind that a block has and that did nothing: their gas is lost.",
                "kind",
                dict(totals.reverts),
                counter=True,
            ),
            HistogramMetricFamily(
                "flock_render_seconds",
                "How long renders took.",
                buckets=[*renders, ("+Inf", float(totals.rendered))],
                sum_value=totals.render_seconds,
            ),
        ]


class Health:
    """Whether a process does its work, from what it watches."""

    def __init__(self, watches: Mapping[str, Watch]) -> None:
        self._watches = dict(watches)

    async def look(self) -> tuple[bool, bool, dict[str, str]]:
        """Whether it is healthy, whether it is ready, and what is wrong by name."""
        found = await asyncio.gather(*(watch.look() for watch in self._watches.values()))
        wrong = {name: words for name, (words, _) in zip(self._watches, found, strict=True) if words is not None}
        return not any(late for _, late in found), not wrong, wrong


def database_watch(database: AsyncEngine) -> Watch:
    """Whether the database takes writes, tried without changing anything."""

    async def probe() -> str | None:
        try:
            async with database.begin() as connection:
                await connection.execute(update(leases).where(leases.c.name == "").values(owner=""))
        except (SQLAlchemyError, OSError) as error:
            return f"it takes no writes ({type(error).__name__})"
        return None

    return Watch(probe, DATABASE_S)


@asynccontextmanager
async def serving(host: str, port: int, metrics: Metrics, health: Health) -> AsyncIterator[None]:
    """Serves both within this block; port 0 is off. Raises OperatorError where the port is taken."""
    if not port:
        yield
        return

    async def tell(_request: web.Request) -> web.Response:
        return web.Response(
            body=await metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def healthz(_request: web.Request) -> web.Response:
        healthy, _, wrong = await health.look()
        return web.json_response({"ok": healthy, "wrong": wrong}, status=200 if healthy else 503)

    async def readyz(_request: web.Request) -> web.Response:
        _, ready, wrong = await health.look()
        return web.json_response({"ok": ready, "wrong": wrong}, status=200 if ready else 503)

    app = web.Application()
    app.router.add_routes([web.get("/metrics", tell), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise OperatorError(
                f"Port {port} for metrics cannot be opened ({error.strerror}). Set another "
                "FLOCK_METRICS_PORT; each process on a machine needs its own."
            ) from None
        log.info("Metrics and health are at http://%s:%d/.", host, port)
        yield
    finally:
        await runner.cleanup()


def _labelled(name: str, what: str, label: str, values: Mapping[str, int], *, counter: bool = False) -> Metric:
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, what, labels=[label])
    for value, number in values.items():
        family.add_metric([value], float(number))
    return family


def _age(now: int, since_ms: int | None) -> float:
    """Seconds since then; 0 where there is nothing."""
    return 0.0 if since_ms is None else max(0.0, (now - int(since_ms)) / 1000)
