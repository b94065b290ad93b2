"""The takeover of dead processes' workflows: every executor renews a lease, and one of them requeues what has none.

The durable engine itself continues a workflow only in the process that began it. The reaper is level-triggered: each
scan looks at all unfinished workflows, so that nothing depends on having seen a process die. Workers take over what a
worker began, and see nothing else (docs/worker-role.sql); the bot takes over the rest, and all where no worker lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dbos import DBOSClient, WorkflowStatus
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.jobs import RENDER_WORKFLOW, gpu_queue, is_of_earlier_release
from migrations.database import database_now_ms, now_ms, upsert_into
from migrations.leases import release_lease, take_lease
from migrations.schema import executor_leases, workers, workflow_attempts

log = logging.getLogger(__name__)

MACHINE_QUEUES = "upload."  # a job on such a queue can run on one machine only
WORKER_QUEUES = ("gpu.", "train.", MACHINE_QUEUES)  # served by workers; docs/worker-role.sql names them too
LEASES = {"bot": "reaper", "worker": "worker reaper"}  # by role: who scans


class EngineStatus(StrEnum):
    """The states of a workflow in the engine's own table."""

    DELAYED = "DELAYED"  # to be queued at a later time
    ENQUEUED = "ENQUEUED"  # in its queue
    PENDING = "PENDING"  # taken by a process, living or dead
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"  # it raised
    CANCELLED = "CANCELLED"
    MAX_RECOVERY_ATTEMPTS_EXCEEDED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"  # the engine itself has given it up


@dataclass(frozen=True)
class ReaperTimes:
    """Times in seconds. A dead process's workflows are taken over at most `lease` + `scan` after its last renewal."""

    beat: float = 2.0
    lease: float = 10.0
    scan: float = 2.0
    fence: float = 8.0  # without a renewal for so long a process must stop its jobs: others take them over
    orphan: float = 120.0  # an upload waits so long for its machine to come back, and is then given up


@dataclass(frozen=True)
class _Executor:
    """A process with a lease: its role, and the queues that it serves."""

    role: str
    queues: tuple[str, ...]


class Reaper:
    """The lease of one executor, and its turn at scanning for executors whose lease has run out."""

    # How often a job of these queues may lose its process before it is given up as poison.
    # Workflows of videos and rounds (queue "bot") are never given up.
    POISON_CAP = 3

    def __init__(
        self,
        database: AsyncEngine,
        *,
        executor_id: str,
        role: str,
        queues: list[str],
        times: ReaperTimes,
        on_fenced: Callable[[], None] | None,
    ) -> None:
        self._database = database
        self._executor_id = executor_id
        self._role = role
        self._queues = queues
        self._times = times
        self._on_fenced = on_fenced
        self._tasks: list[asyncio.Task[None]] = []

    async def enter(self) -> None:
        """Write the first lease: workflows are taken only under a lease."""
        await self._beat()

    def start(self, client: DBOSClient) -> None:
        """Begin to renew the lease and to scan."""
        self._tasks = [
            asyncio.create_task(self._keep_beating(), name="executor lease"),
            asyncio.create_task(self._keep_scanning(client), name="reaper"),
        ]

    async def stop(self) -> None:
        """Stop renewing and scanning."""
        running = set(self._tasks)
        while running:  # a driver may swallow one cancellation, and a task that is never done would hold up our exit
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=1)

    async def hand_over(self, client: DBOSClient) -> None:
        """Put this executor's unfinished workflows back into their queues, without counting an attempt against them.

        An orderly end is not the fault of a job, and POISON_CAP counts only processes that died.
        """
        try:
            unfinished = await client.list_workflows_async(
                status=EngineStatus.PENDING, executor_id=self._executor_id, load_input=False, load_output=False
            )
            for workflow in unfinished:
                if workflow.queue_name is not None:
                    await client.resume_workflow_async(workflow.workflow_id, queue_name=workflow.queue_name)
        except Exception as error:  # then others take it over once our lease is gone
            log.warning("Unfinished workflows could not be handed over (%s).", type(error).__name__)

    async def leave(self) -> None:
        """Release the lease, so that unfinished workflows are taken over at once. Nothing may run here any more."""
        with contextlib.suppress(SQLAlchemyError):
            await release_lease(self._database, LEASES[self._role], self._executor_id)
            async with self._database.begin() as connection:
                await connection.execute(
                    delete(executor_leases).where(executor_leases.c.executor_id == self._executor_id)
                )

    async def _beat(self) -> None:
        insert = upsert_into(self._database, executor_leases)
        now = database_now_ms(self._database)
        async with self._database.begin() as connection:
            await connection.execute(
                insert.values(
                    executor_id=self._executor_id, role=self._role, queues=self._queues, beat_at_ms=now
                ).on_conflict_do_update(index_elements=["executor_id"], set_={"beat_at_ms": now})
            )

    async def _keep_beating(self) -> None:
        last = time.monotonic()
        fenced = False
        while True:
            await asyncio.sleep(self._times.beat)
            try:
                async with asyncio.timeout(self._times.fence):  # wait_for loses cancellations (Python 3.11)
                    await self._beat()
                last, fenced = time.monotonic(), False
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("The lease could not be renewed (%s); trying again.", type(error).__name__)
            if not fenced and time.monotonic() - last > self._times.fence:
                fenced = True
                log.error("The database cannot be reached; running jobs are stopped, others take them over.")
                if self._on_fenced is not None:
                    self._on_fenced()

    async def _keep_scanning(self, client: DBOSClient) -> None:
        while True:
            try:
                if await take_lease(self._database, LEASES[self._role], self._executor_id, self._times.lease):
                    await self.scan(client)
            except Exception as error:  # a failed scan is repeated: nothing depends on this one
                log.warning("The search for dead processes failed (%s); trying again.", type(error).__name__)
            await asyncio.sleep(self._times.scan)

    async def scan(self, client: DBOSClient) -> list[str]:
        """Put every workflow of a dead executor of this role back into its queue; return their ids."""
        unfinished = await client.list_workflows_async(
            status=[EngineStatus.PENDING, EngineStatus.ENQUEUED], load_input=False, load_output=False
        )
        if not unfinished:
            return []
        alive = await self._alive()
        served = {queue for executor in alive.values() for queue in executor.queues}
        is_workers_turn = any(executor.role == "worker" for executor in alive.values())
        requeued = []
        for workflow in unfinished:
            queue = workflow.queue_name
            if queue is None or (workflow.status == EngineStatus.PENDING and workflow.executor_id in alive):
                continue
            is_workers = queue.startswith(WORKER_QUEUES)
            if workflow.status == EngineStatus.ENQUEUED:
                if self._role == "worker":  # of the bot: it is there whenever a job is of use to somebody
                    continue
                if workflow.name == RENDER_WORKFLOW and is_of_earlier_release(queue):
                    await self._move(client, workflow.workflow_id, queue)
                await self._give_up_orphan(client, workflow, served)
                continue
            if (self._role == "worker") != (is_workers and is_workers_turn):
                continue
            attempts = await self._count_attempt(workflow.workflow_id)
            if attempts >= self.POISON_CAP and is_workers:
                log.error("Job %s lost its worker %d times and is given up.", workflow.workflow_id, attempts)
                await client.cancel_workflow_async(workflow.workflow_id)
                continue
            log.info("Job %s is taken over from %s.", workflow.workflow_id, workflow.executor_id)
            await client.resume_workflow_async(workflow.workflow_id, queue_name=queue)
            requeued.append(workflow.workflow_id)
        return requeued

    async def _move(self, client: DBOSClient, workflow_id: str, queue: str) -> None:
        """Move a render that a bot of an earlier release asked for to the queue of its model's workers today."""
        for workflow in await client.list_workflows_async(workflow_ids=[workflow_id], load_output=False):
            with contextlib.suppress(TypeError, LookupError, ValueError):  # no job: nobody could render it
                stored: Any = workflow.input
                today = gpu_queue(queue.removeprefix("gpu."), stored["args"][0]["model_id"])
                await client.resume_workflow_async(workflow_id, queue_name=today)

    async def _give_up_orphan(self, client: DBOSClient, workflow: WorkflowStatus, served: set[str]) -> None:
        """Give up an upload whose machine is gone: only there is the file. The video is then rendered anew."""
        queue = workflow.queue_name or ""
        since = workflow.updated_at or workflow.created_at or 0
        if not queue.startswith(MACHINE_QUEUES) or queue in served:
            return
        if now_ms() - since > self._times.orphan * 1000:
            log.warning("The machine of %s is gone; %s is given up.", queue, workflow.workflow_id)
            await client.cancel_workflow_async(workflow.workflow_id)

    async def _alive(self) -> dict[str, _Executor]:
        """Return the executors with a lease, by their ids."""
        limit = database_now_ms(self._database) - int(self._times.lease * 1000)
        async with self._database.begin() as connection:
            # Leases that ran out an hour ago are of no use to anybody.
            await connection.execute(delete(executor_leases).where(executor_leases.c.beat_at_ms < limit - 3_600_000))
            leased = select(executor_leases.c.executor_id)
            await connection.execute(delete(workers).where(workers.c.executor_id.not_in(leased)))
            rows = await connection.execute(
                select(executor_leases.c.executor_id, executor_leases.c.role, executor_leases.c.queues).where(
                    executor_leases.c.beat_at_ms >= limit
                )
            )
            return {row.executor_id: _Executor(row.role, tuple(row.queues)) for row in rows}

    async def _count_attempt(self, workflow_id: str) -> int:
        insert = upsert_into(self._database, workflow_attempts)
        async with self._database.begin() as connection:
            await connection.execute(insert.values(workflow_id=workflow_id, attempts=0).on_conflict_do_nothing())
            await connection.execute(
                update(workflow_attempts)
                .where(workflow_attempts.c.workflow_id == workflow_id)
                .values(attempts=workflow_attempts.c.attempts + 1)
            )
            attempts = await connection.scalar(
                select(workflow_attempts.c.attempts).where(workflow_attempts.c.workflow_id == workflow_id)
            )
        return int(attempts or 0)
