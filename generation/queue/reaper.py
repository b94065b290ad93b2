"""Notices dead processes: every executor renews a lease, and one of them hands the work of the dead to the living.

The durable engine continues a workflow only in the process that began it; this is the missing half. It is
level-triggered: each scan looks at all unfinished work, so that nothing depends on having seen a death happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ReaperTimes:
    """Seconds. A dead process's work is taken over `lease` + `scan` after its last sign of life, at most."""

    beat: float = 2.0
    lease: float = 10.0
    scan: float = 2.0
    fence: float = 8.0  # without a renewal for this long a process must take itself for dead
    orphan: float = 120.0  # an upload waits this long for its machine to come back before it is given up


class Reaper:
    """An executor's lease, and its turn at scanning for executors whose lease ran out."""

    # How often a job of these queues may lose its process before it is given up as poison.
    # Lives of videos and rounds (queue "bot") are never given up.
    POISON_CAP = 3
    POISON_QUEUES = ("gpu.", "upload.")

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
        """Writes the first lease: work is claimed only under a living lease."""
        await self._beat()

    def start(self, client: DBOSClient) -> None:
        """Begins to renew the lease and to scan."""
        self._tasks = [
            asyncio.create_task(self._keep_beating(), name="executor lease"),
            asyncio.create_task(self._keep_scanning(client), name="reaper"),
        ]

    async def stop(self) -> None:
        """Renews and scans no more."""
        running = set(self._tasks)
        while running:  # a driver may swallow one cancellation, and a task that is never done would hold up our exit
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=1)

    async def hand_over(self, client: DBOSClient) -> None:
        """Puts our unfinished work back into its queues: who leaves in good order costs no job one of its lives."""
        try:
            unfinished = await client.list_workflows_async(
                status="PENDING", executor_id=self._executor_id, load_input=False, load_output=False
            )
            for workflow in unfinished:
                if workflow.queue_name is not None:
                    await client.resume_workflow_async(workflow.workflow_id, queue_name=workflow.queue_name)
        except Exception as error:  # then others find it by our lease
            log.warning("Unfinished work could not be handed over (%s).", type(error).__name__)

    async def leave(self) -> None:
        """Gives the lease back, so that unfinished work is taken over at once; only when nothing runs here any more."""
        with contextlib.suppress(SQLAlchemyError):
            await release_lease(self._database, "reaper", self._executor_id)
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
                if await take_lease(self._database, "reaper", self._executor_id, self._times.lease):
                    await self.scan(client)
            except Exception as error:  # a scan that failed is simply repeated: nothing depends on this one
                log.warning("The search for dead processes failed (%s); trying again.", type(error).__name__)
            await asyncio.sleep(self._times.scan)

    async def scan(self, client: DBOSClient) -> list[str]:
        """Hands every workflow of a dead executor back to its queue; returns their ids."""
        unfinished = await client.list_workflows_async(
            status=["PENDING", "ENQUEUED"], load_input=False, load_output=False
        )
        if not unfinished:
            return []
        alive = await self._alive()
        served = {queue for queues in alive.values() for queue in queues}
        taken = []
        for workflow in unfinished:
            queue = workflow.queue_name
            if queue is None or (workflow.status == "PENDING" and workflow.executor_id in alive):
                continue
            if workflow.status == "ENQUEUED":
                if workflow.name == RENDER_WORKFLOW and is_of_earlier_release(queue):
                    await self._move(client, workflow.workflow_id, queue)
                await self._give_up_orphan(client, workflow, served)
                continue
            attempts = await self._count_attempt(workflow.workflow_id)
            if attempts >= self.POISON_CAP and queue.startswith(self.POISON_QUEUES):
                log.error("Job %s lost its worker %d times and is given up.", workflow.workflow_id, attempts)
                await client.cancel_workflow_async(workflow.workflow_id)
                continue
            log.info("Job %s is taken over from %s.", workflow.workflow_id, workflow.executor_id)
            await client.resume_workflow_async(workflow.workflow_id, queue_name=queue)
            taken.append(workflow.workflow_id)
        return taken

    async def _move(self, client: DBOSClient, workflow_id: str, queue: str) -> None:
        """A render that a bot of an earlier release asked for goes where the workers of its model look today."""
        for workflow in await client.list_workflows_async(workflow_ids=[workflow_id], load_output=False):
            with contextlib.suppress(TypeError, LookupError, ValueError):  # no job: nobody could render it
                given: Any = workflow.input
                moved = gpu_queue(queue.removeprefix("gpu."), given["args"][0]["model_id"])
                await client.resume_workflow_async(workflow_id, queue_name=moved)

    async def _give_up_orphan(self, client: DBOSClient, workflow: WorkflowStatus, served: set[str]) -> None:
        """An upload can only run on the machine that holds the file: when that is gone, the video is rendered anew."""
        queue = workflow.queue_name or ""
        since = workflow.updated_at or workflow.created_at or 0
        if not queue.startswith(MACHINE_QUEUES) or queue in served:
            return
        if now_ms() - since > self._times.orphan * 1000:
            log.warning("The machine of %s is gone; %s is given up.", queue, workflow.workflow_id)
            await client.cancel_workflow_async(workflow.workflow_id)

    async def _alive(self) -> dict[str, list[str]]:
        """The queues that each living executor serves, by its id."""
        limit = database_now_ms(self._database) - int(self._times.lease * 1000)
        async with self._database.begin() as connection:
            # Leases of the long dead are only rubble.
            await connection.execute(delete(executor_leases).where(executor_leases.c.beat_at_ms < limit - 3_600_000))
            leased = select(executor_leases.c.executor_id)
            await connection.execute(delete(workers).where(workers.c.executor_id.not_in(leased)))
            rows = await connection.execute(
                select(executor_leases.c.executor_id, executor_leases.c.queues).where(
                    executor_leases.c.beat_at_ms >= limit
                )
            )
            return {row.executor_id: list(row.queues) for row in rows}

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
