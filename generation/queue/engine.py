"""The durable engine (DBOS Transact): workflows that outlive their process, queues, and jobs for other processes.

One database serves the engine and the domain tables, so that a row and its workflow are written in one transaction.
Every effect may run again after a crash; whoever writes a step makes its repetition harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, EnqueueOptions
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from generation.queue.dbos_private import (
    AWAITED_WORKFLOW_ENDED,
    ENGINE_IS_OVER,
    TASK_CANCELLED,
    CountRunning,
    replace_count_of_running,
)
from generation.queue.portable_json import NotPortableError, read_portable_json_only
from generation.queue.reaper import EngineStatus, Reaper, ReaperTimes
from generation.queue.row_rules import allow_portable_json_alone
from migrations.database import sync_url

log = logging.getLogger(__name__)

APPLICATION = "flock"
# Workflows only ever continue under the version that they began with. Raise it together with a plan for those
# under way; a release that does not change the workflows' steps does not change it either.
WORKFLOW_VERSION = "1"

RESULT_POLL_S = 0.25
UNHEARD_S = 30.0  # the longest sleep of a workflow that cannot hear wake-up calls
WAKE = "wake"
MORE_THAN_ANY = 1 << 30  # running workflows, with which a queue is full
NORMAL_PRIORITY = 10  # 1 is the most urgent; among the jobs of one member, where a queue is fair by member

P = ParamSpec("P")
R = TypeVar("R")

LifeState = Literal["alive", "done", "dead"]
# The states of a workflow that has ended without a result.
_DEAD = (EngineStatus.ERROR, EngineStatus.CANCELLED, EngineStatus.MAX_RECOVERY_ATTEMPTS_EXCEEDED)
_MOST_IDS = 500  # in one query


class WorkCancelledError(Exception):
    """The awaited workflow was cancelled, or given up after its workers died too often."""


@dataclass(frozen=True)
class QueueSpec:
    """The way to serve a queue. `one_per_member` lets a member's second job wait while the first one runs.

    `spared` returns, in any thread, how many of the workflows that run here need no place of the queue's.
    """

    name: str
    concurrency: int  # workflows at once in one process
    one_per_member: bool = False
    listen: bool = True  # False: this process only hands work to it
    poll_s: float = 0.2
    spared: Callable[[], int] | None = None


class Engine:
    """The part of one process in the durable engine. A process has one: DBOS is a singleton."""

    is_over: ClassVar[bool] = False  # no step of a workflow can be recorded any more

    def __init__(
        self,
        database: AsyncEngine,
        database_url: str,
        *,
        role: Literal["bot", "worker"],
        queues: Sequence[QueueSpec],
        times: ReaperTimes | None = None,
        on_fenced: Callable[[], None] | None = None,
    ) -> None:
        """`on_fenced` is called when this process could not renew its lease: others take its workflows over.

        Raises UnsafeEngineError when the installed DBOS cannot be kept from unpickling rows.
        """
        read_portable_json_only()
        self.database = database
        self.executor_id = f"{role}-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._role = role
        self._url = sync_url(database_url)
        self._queues = tuple(queues)
        self._client: DBOSClient | None = None
        self._count_running: CountRunning = lambda _queue: 0
        self._shut_queues: set[str] = set()
        self._reaper = Reaper(
            database,
            executor_id=self.executor_id,
            role=role,
            queues=[queue.name for queue in queues if queue.listen],
            times=times or ReaperTimes(),
            on_fenced=on_fenced,
        )
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._url,
            "application_version": WORKFLOW_VERSION,
            "executor_id": self.executor_id,
            "serializer": DBOSPortableJSONSerializer(),  # only how we write; for reading see portable_json
            "log_level": "WARNING",
            "notification_listener_polling_interval_sec": 0.2,
        }
        DBOS(config=config)

    def workflow(self, name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Register a workflow; call it before `launch`. A workflow takes and returns plain JSON."""
        return DBOS.workflow(name=name)

    async def launch(self) -> None:
        """Create the engine's tables where needed, take the lease, and begin to serve the queues."""
        Engine.is_over = False
        logging.getLogger("dbos").removeFilter(_says_nothing_of_the_end)
        await self._reaper.enter()
        DBOS.listen_queues([queue.name for queue in self._queues if queue.listen])
        DBOS.launch()  # inside the running loop, so that workflows run on it too
        if self._role == "bot":  # it owns the tables
            await self._set_rule_of_rows()
        self._count_running = replace_count_of_running(self._count_of_places)
        for queue in self._queues:
            await DBOS.register_queue_async(
                queue.name,
                worker_concurrency=queue.concurrency,
                partition_concurrency=1 if queue.one_per_member else None,
                polling_interval_sec=queue.poll_s,
                on_conflict="always_update" if queue.listen else "never_update",
            )
        self._client = await asyncio.to_thread(self._open_client)
        self._reaper.start(self._client)

    async def _set_rule_of_rows(self) -> None:
        try:
            await allow_portable_json_alone(self.database)
        except SQLAlchemyError as error:  # the reading side refuses such rows in any case
            log.warning("The database was not told to refuse rows that may hold code (%s).", type(error).__name__)

    def _count_of_places(self, count: CountRunning) -> CountRunning:
        """Return a count of the workflows that take a place of their queue, from the engine's own count.

        A queue's `concurrency` is the same for all processes; the workflows that `spared` returns take no place here,
        and a queue that is shut has none left.
        """
        spared = {queue.name: queue.spared for queue in self._queues if queue.spared is not None}

        def count_places(name: str) -> int:
            if name in self._shut_queues:
                return MORE_THAN_ANY
            return max(0, count(name) - (spared[name]() if name in spared else 0))

        return count_places

    def shut(self, queue: str) -> None:
        """Take no more workflows from a queue; those already taken go on."""
        self._shut_queues.add(queue)

    def running(self, queue: str) -> int:
        """Return the number of a queue's workflows that run in this process."""
        return self._count_running(queue)

    def _open_client(self) -> DBOSClient:
        return DBOSClient(
            system_database_url=self._url, serializer=DBOSPortableJSONSerializer(), application_name=APPLICATION
        )

    async def close(self) -> None:
        """Stop serving and release the lease: other processes take unfinished workflows over at once."""
        await self._reaper.stop()
        Engine.is_over = True
        logging.getLogger("dbos").addFilter(_says_nothing_of_the_end)
        loop = asyncio.get_running_loop()
        # DBOS makes its pool the loop's default one, and shuts it down: destroy it from outside, and set a new one.
        with ThreadPoolExecutor(1) as outside:
            await loop.run_in_executor(outside, partial(DBOS.destroy, destroy_registry=True))
        loop.set_default_executor(ThreadPoolExecutor())
        if self._client is not None:
            await self._reaper.hand_over(self._client)
            await asyncio.to_thread(self._client.destroy)
            self._client = None
        await self._reaper.leave()

    @property
    def client(self) -> DBOSClient:
        """The client that reads and changes workflows from outside. Raises RuntimeError before `launch`."""
        if self._client is None:
            raise RuntimeError("The engine has not been launched.")
        return self._client

    # ------------------------------------------------------------------ from anywhere

    async def submit(
        self,
        connection: AsyncConnection,
        workflow: str,
        workflow_id: str,
        argument: Mapping[str, object],
        *,
        queue: str,
        member_id: int | None = None,
        priority: int = NORMAL_PRIORITY,
    ) -> None:
        """Enqueue a workflow within the caller's transaction: both are committed, or neither.

        The same workflow id a second time changes nothing. `member_id` is required by queues that are fair by member.
        """
        options = _options(workflow, workflow_id, queue, member_id, priority)
        await connection.run_sync(
            lambda sync: self.client.enqueue_in_transaction(sync, options, argument),
        )

    async def cancel(self, workflow_id: str) -> None:
        """Cancel a workflow that is queued, or keep a running one from taking another step."""
        await self.client.cancel_workflow_async(workflow_id)

    async def wake(self, workflow_id: str) -> None:
        """End the `sleep_or_wake` of a workflow; one that does not sleep will not sleep the next time."""
        await self.client.send_async(workflow_id, "wake", WAKE)

    async def states(self, workflow_ids: Sequence[str]) -> dict[str, LifeState]:
        """Return the states of workflows: alive, done, or dead, without a result. Unknown ids are left out."""
        states: dict[str, LifeState] = {}
        for start in range(0, len(workflow_ids), _MOST_IDS):
            ids = list(workflow_ids[start : start + _MOST_IDS])
            for status in await self.client.list_workflows_async(workflow_ids=ids, load_input=False, load_output=False):
                if status.status in _DEAD:
                    states[status.workflow_id] = "dead"
                else:
                    is_done = status.status == EngineStatus.SUCCESS
                    states[status.workflow_id] = "done" if is_done else "alive"
        return states

    async def dead(self, workflow: str, since_ms: int) -> dict[str, dict[str, Any]]:
        """Return the arguments of a kind's workflows begun since then that ended without a result, by their ids."""
        since = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat()
        arguments: dict[str, dict[str, Any]] = {}
        for status in await self.client.list_workflows_async(
            name=workflow, status=list(_DEAD), start_time=since, load_output=False
        ):
            stored: Any = status.input
            with contextlib.suppress(TypeError, LookupError, ValueError):  # no argument of ours
                arguments[status.workflow_id] = dict(stored["args"][0])
        return arguments

    async def result(self, workflow_id: str) -> Any | None:
        """Return the result of a workflow that has ended, a JSON object; None while it goes on, or is not there.

        Raises WorkCancelledError when it was cancelled, given up, or failed, or when its result cannot be read.
        """
        for status in await self.client.list_workflows_async(workflow_ids=[workflow_id], load_input=False):
            if status.status == EngineStatus.SUCCESS:
                if not isinstance(status.output, dict):  # DBOS returns as it stands what it could not decode
                    raise WorkCancelledError(workflow_id)
                return status.output
            if status.status in _DEAD:
                raise WorkCancelledError(workflow_id)
        return None

    # ------------------------------------------------------------------ within a workflow

    @staticmethod
    async def step(name: str, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function once and record its result; after a crash a recorded step is not run again."""

        async def body() -> R:
            return await function(*args, **kwargs)

        result: R = await _unless_over(DBOS.run_step_async({"name": name}, body))
        return result

    @staticmethod
    async def delegate(
        workflow: str,
        workflow_id: str,
        argument: Mapping[str, object],
        *,
        queue: str,
        member_id: int | None = None,
        priority: int = NORMAL_PRIORITY,
        unwanted: Callable[[], Awaitable[bool]] | None = None,
    ) -> Any:
        """Let the process that serves `queue` run a workflow, and wait for its result.

        `unwanted` is called once it is enqueued: a cancellation that came before had no workflow to cancel.
        Raises WorkCancelledError when it was cancelled or given up.
        """
        options = _options(workflow, workflow_id, queue, member_id, priority)
        handle = await _unless_over(DBOS.enqueue_workflow_with_options_async(options, argument))
        if unwanted is not None and await Engine.step("still wanted", unwanted):
            await DBOS.cancel_workflow_async(workflow_id)
        try:
            return await _unless_over(handle.get_result(polling_interval_sec=RESULT_POLL_S))
        except AWAITED_WORKFLOW_ENDED as error:
            raise WorkCancelledError(workflow_id) from error

    @staticmethod
    async def hand_over(workflow: str, workflow_id: str, argument: Mapping[str, object], *, queue: str) -> None:
        """Let the process that serves `queue` run a workflow, without waiting for it; see `result`."""
        options = _options(workflow, workflow_id, queue, None, NORMAL_PRIORITY)
        await _unless_over(DBOS.enqueue_workflow_with_options_async(options, argument))

    @staticmethod
    async def sleep(seconds: float) -> None:
        """Sleep durably: after a restart only the rest is slept."""
        await _unless_over(DBOS.sleep_async(max(0.0, seconds)))

    @staticmethod
    async def sleep_or_wake(seconds: float) -> None:
        """Sleep durably until `wake` ends it; it may also end early by itself, so the caller looks at the clock."""
        try:
            await _unless_over(DBOS.recv_async(WAKE, timeout_seconds=max(0.0, seconds)))
        except NotPortableError as error:  # a forged wake-up call keeps the real one from being heard
            log.error("A wake-up call was rejected: %s", error)
            await asyncio.sleep(min(max(0.0, seconds), UNHEARD_S))  # not recorded: next time it may be heard


def _says_nothing_of_the_end(record: logging.LogRecord) -> bool:
    """Return False for the warnings about workflows that end with the process: they go on elsewhere, as they should."""
    error = record.exc_info[1] if record.exc_info else None
    return not (record.getMessage().startswith(TASK_CANCELLED) or str(error).startswith(ENGINE_IS_OVER))


async def _unless_over(work: Awaitable[R]) -> R:
    """Return the result of a part of a workflow; wait for the end of the process where the engine is closed meanwhile.

    Nothing of it can be recorded then, and the workflow must not take that for an error of its own: it goes on in
    another process.
    """
    try:
        return await work
    except Exception:
        if Engine.is_over:
            await asyncio.Event().wait()
        raise


def _options(workflow: str, workflow_id: str, queue: str, member_id: int | None, priority: int) -> EnqueueOptions:
    options: EnqueueOptions = {
        "workflow_name": workflow,
        "queue_name": queue,
        "workflow_id": workflow_id,
        "app_version": WORKFLOW_VERSION,
        "priority": priority,
    }
    if member_id is not None:
        options["queue_partition_key"] = str(member_id)
    return options
