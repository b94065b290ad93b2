"""The numbers and the health of a process, served by HTTP: /metrics for Prometheus, /healthz and /readyz.

Off unless a port is set. No label holds a word or an id of a member: labels are statuses, kinds and roles, of which
there are a few.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Row, Select, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.monitoring.health import Health, HealthReport
from bot.monitoring.http import listening
from bot.monitoring.process_metrics import ProcessMetrics
from bot.store.totals import Totals, TotalsCounter
from migrations.database import now_ms
from migrations.schema import executor_leases, outbox, videos, workflow_attempts
from migrations.states.ledger import TransactionKind

log = logging.getLogger(__name__)

Role = Literal["bot", "worker"]
ROLES = ("bot", "worker")
RENDER_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)  # seconds
ACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)  # seconds
STATUSES = ("queued", "rendering", "uploading", "hosting", "posting", "published", "failed", "cancelled", "removed")
OUTBOX_STATES = ("pending", "batched", "final", "superseded", "rejected")
CHOICES = {0: "withdrawn", 1: "up", 2: "down"}
LIVE_MS = 15_000  # a lease that was renewed within this time belongs to a living process

Gauges = Callable[[], Awaitable[Mapping[str, float]]]
Numbers = Mapping[str, float]  # by the value of the label; a family without a label has one number, under ""


# --------------------------------------------------------------------------- the families


@dataclass(frozen=True)
class Family:
    """A metric family by its name, the sentence that Prometheus shows, and its only label, if it has one."""

    name: str
    sentence: str
    label: str = ""
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily

    def of(self, numbers: Numbers) -> Metric:
        """Return the family with these numbers."""
        family = self.kind(self.name, self.sentence, labels=[self.label] if self.label else [])
        for value, number in numbers.items():
            family.add_metric([value] if self.label else [], float(number))
        return family


# The families that are counted among the totals.
FROM_TOTALS: Sequence[tuple[Callable[[Totals], Numbers], Family]] = (
    (
        lambda totals: {status: totals.videos[status] for status in STATUSES},
        Family("flock_videos", "Videos by status.", "status"),
    ),
    (
        lambda totals: {state: totals.entries[state] for state in OUTBOX_STATES},
        Family("flock_outbox_entries", "Ledger entries by state.", "state"),
    ),
    (
        lambda totals: {word: totals.votes[choice] for choice, word in CHOICES.items()},
        Family("flock_votes", "Votes as they stand.", "choice"),
    ),
    (
        lambda totals: totals.batches,
        Family("flock_batches", "Final transactions by kind.", "kind", CounterMetricFamily),
    ),
    (lambda totals: totals.gas, Family("flock_gas_used", "Gas of final transactions.", "kind", CounterMetricFamily)),
    (
        lambda totals: {
            kind: totals.reverts[kind] for kind in TransactionKind
        },  # a 0 first: an alert sees the first one
        Family(
            "flock_reverts", "Transactions in a block that did nothing: their gas is lost.", "kind", CounterMetricFamily
        ),
    ),
)


def _by_role(rows: Sequence[Row[str, int]], _now: int) -> Numbers:
    counts = {row[0]: row[1] for row in rows}
    return {role: counts.get(role, 0) for role in ROLES}


def _age(rows: Sequence[Row[int | None]], now: int) -> Numbers:
    """Return the seconds since a time in the only row; 0 where there is none."""
    [(since_ms,)] = rows
    return {"": 0.0 if since_ms is None else max(0.0, (now - since_ms) / 1000)}


def _number(rows: Sequence[Row[int | None]], _now: int) -> Numbers:
    [(number,)] = rows
    return {"": number or 0}


# The families that have a query of their own, with the function that makes numbers of its rows and of the time.
FROM_QUERIES: Sequence[tuple[Select[*tuple[object, ...]], Callable[..., Numbers], Family]] = (
    (
        select(executor_leases.c.role, func.count())
        .where(executor_leases.c.beat_at_ms >= bindparam("live_since_ms"))
        .group_by(executor_leases.c.role),
        _by_role,
        Family("flock_processes", "Living processes.", "role"),
    ),
    (
        select(func.min(videos.c.created_at_ms)).where(videos.c.status.in_(("queued", "rendering"))),
        _age,
        Family("flock_queue_oldest_seconds", "Age of the oldest waiting video."),
    ),
    (
        select(func.min(outbox.c.created_at_ms)).where(outbox.c.state.in_(("pending", "batched"))),
        _age,
        Family("flock_outbox_oldest_seconds", "Age of the oldest entry that is not on the ledger yet."),
    ),
    (
        select(func.sum(workflow_attempts.c.attempts)),
        _number,
        Family("flock_take_overs", "Jobs taken over from dead processes.", "", CounterMetricFamily),
    ),
)
DATABASE_UP = Family("flock_database_up", "1 where the database answers.")


# --------------------------------------------------------------------------- a process


class Metrics:
    """The numbers of one process."""

    def __init__(
        self,
        database: AsyncEngine,
        role: Role,
        *,
        gauges: Gauges | None = None,
        process: ProcessMetrics | None = None,
    ) -> None:
        """Prepare the families of a role; `gauges` returns numbers that only this process has, by their names."""
        self._database = database
        self._gauges = gauges
        self._process = process
        self._counting = TotalsCounter(database, RENDER_BUCKETS)
        self._registry = CollectorRegistry()
        self._families: list[Metric] = []
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # process_…, on Linux
        self._acks: Histogram | None = None
        if role == "bot":
            sentence = "From a vote's arrival to its commit."
            self._acks = Histogram("flock_vote_ack_seconds", sentence, buckets=ACK_BUCKETS, registry=self._registry)

    def observe_ack(self, seconds: float) -> None:
        """Count a vote that was acknowledged after this many seconds."""
        if self._acks is not None:
            self._acks.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """Return the families of the latest `text`; prometheus_client calls this."""
        return self._families

    async def text(self) -> bytes:
        """Return all numbers in Prometheus' text format, without those that the database cannot give now."""
        families: list[Metric] = []
        try:
            families += await self._from_database()
            families.append(DATABASE_UP.of({"": 1}))
        except (SQLAlchemyError, OSError):
            families.append(DATABASE_UP.of({"": 0}))
        if self._process is not None:
            families += await self._process.families()
        if self._gauges is not None:
            try:
                gauges = await self._gauges()
            except (SQLAlchemyError, OSError):
                gauges = {}
            families += [Family(name, name.replace("_", " ")).of({"": value}) for name, value in gauges.items()]
        self._families = families
        return generate_latest(self._registry)

    async def _from_database(self) -> list[Metric]:
        """Return the state of the whole installation, which is the same in every process."""
        now = now_ms()
        totals = await self._counting.totals()
        families = [family.of(numbers(totals)) for numbers, family in FROM_TOTALS]
        async with self._database.connect() as connection:
            for query, numbers, family in FROM_QUERIES:
                parameters = {"live_since_ms": now - LIVE_MS}
                rows = (await connection.execute(query, parameters)).all()
                families.append(family.of(numbers(rows, now)))
        renders = [(str(bound), float(totals.renders[bound])) for bound in RENDER_BUCKETS]
        families.append(
            HistogramMetricFamily(
                "flock_render_seconds",
                "The time that renders took.",
                buckets=[*renders, ("+Inf", float(totals.rendered))],
                sum_value=totals.render_seconds,
            )
        )
        return families


@asynccontextmanager
async def serving(host: str, port: int, metrics: Metrics, health: Health) -> AsyncIterator[None]:
    """Serve both within this block; port 0 is off. Raises OperatorError where the port cannot be opened."""

    async def numbers(_request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=await metrics.text(), headers=headers)

    async def healthz(_request: web.Request) -> web.Response:
        report = await health.look()
        return _answer(report, report.healthy)

    async def readyz(_request: web.Request) -> web.Response:
        report = await health.look()
        return _answer(report, report.ready)

    application = web.Application()
    routes = [web.get("/metrics", numbers), web.get("/healthz", healthz), web.get("/readyz", readyz)]
    application.router.add_routes(routes)
    async with listening(application, host, port, purpose="metrics", setting="FLOCK_METRICS_PORT"):
        if port:
            log.info("Metrics and health are at http://%s:%d/.", host, port)
        yield


def _answer(report: HealthReport, ok: bool) -> web.Response:
    return web.json_response({"ok": ok, "wrong": report.problems}, status=200 if ok else 503)
