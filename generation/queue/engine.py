"""The durable engine (DBOS Transact): workflows that outlive their process, queues, and work handed to others.

One database serves the engine and the domain tables, so that a row and the workflow that cares for it are written
in one transaction. Every effect may run again after a crash; whoever writes a step makes its repetition harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, ParamSpec, TypeVar

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, EnqueueOptions
from dbos._dbos import _get_dbos_instance  # how many workflows run here is told nowhere else
from dbos._error import (  # the public package exports no exception that a waiter meets
    DBOSAwaitedWorkflowCancelledError,
    DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from generation.queue.portable_json import NotPortableError, read_portable_json_only
from generation.queue.reaper import Reaper, ReaperTimes
from migrations.database import sync_url

log = logging.getLogger(__name__)

APPLICATION = "flock"
# Workflows only ever continue under the version that they began with. Raise it together with a plan for those
# that are under way; a release that leaves the workflows' steps alone leaves it alone.
WORKFLOW_VERSION = "1"

RESULT_POLL_S = 0.25
UNHEARD_S = 30.0  # at most until a workflow looks by itself, where it cannot hear wake-up calls
WAKE = "wake"
MORE_THAN_ANY = 1 << 30  # running workflows, with which a queue is full
NORMAL_PRIORITY = 10  # 1 is the most urgent; among the jobs of one member, where a queue is fair by member

Json = dict[str, Any]
Workflow = Callable[[Json], Awaitable[Any]]
P = ParamSpec("P")
R = TypeVar("R")


LifeState = Literal["alive", "done", "dead"]
_DEAD = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_MOST_ASKED = 500  # workflows in one question to the database


class WorkCancelledError(Exception):
    """The awaited workflow was cancelled, or given up after its workers died too often."""


@dataclass(frozen=True)
class QueueSpec:
    """How a queue is served. `one_per_member` keeps a member's second job waiting while the first one runs.

    `spared` is asked, from another thread, how many of the workflows that run here need no place of the queue's.
    """

    name: str
    concurrency: int  # workflows at once in one process
    one_per_member: bool = False
    listen: bool = True  # False: this process only hands work to it
    poll_s: float = 0.2
    spared: Callable[[], int] | None = None


class Engine:
    """A process's part in the durable engine. One engine a process: DBOS is a singleton."""

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
        """`on_fenced` is called when this process could not renew its lease: others take its work over.

        Raises UnsafeEngineError when the installed DBOS cannot be kept from unpickling what stands in a row.
        """
        read_portable_json_only()
        self.database = database
        self.executor_id = f"{role}-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._url = sync_url(database_url)
        self._queues = tuple(queues)
        self._client: DBOSClient | None = None
        self._count: Callable[[str], int] = lambda _queue: 0
        self._shut: set[str] = set()  # queues that nothing more is taken from
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

    def workflow(self, name: str) -> Callable[[Workflow], Workflow]:
        """Registers a workflow; call before `launch`. It takes and returns plain JSON."""
        return DBOS.workflow(name=name)

    async def launch(self) -> None:
        """Creates the engine's tables where needed, takes the lease, and begins to serve the queues."""
        await self._reaper.enter()
        DBOS.listen_queues([queue.name for queue in self._queues if queue.listen])
        DBOS.launch()  # inside the running loop, so that workflows run on it too
        self._spare()
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

    def _spare(self) -> None:
        """A queue's `concurrency` is one for all processes; here the workflows that `spared` says do not count."""
        running = _get_dbos_instance()._active_workflows_set
        spared = {queue.name: queue.spared for queue in self._queues if queue.spared is not None}
        count = self._count = running.count_for_queue

        def counted(name: str) -> int:
            if name in self._shut:
                return MORE_THAN_ANY
            return max(0, count(name) - (spared[name]() if name in spared else 0))

        running.count_for_queue = counted  # type: ignore[method-assign,assignment]  # of this one object

    def shut(self, queue: str) -> None:
        """Takes nothing more from a queue; what has been taken goes on."""
        self._shut.add(queue)

    def running(self, queue: str) -> int:
        """Workflows of a queue that run in this process."""
        return self._count(queue)

    def _open_client(self) -> DBOSClient:
        return DBOSClient(
            system_database_url=self._url, serializer=DBOSPortableJSONSerializer(), application_name=APPLICATION
        )

    async def close(self) -> None:
        """Stops serving and gives the lease back: whatever is unfinished is taken over at once by others."""
        await self._reaper.stop()
        loop = asyncio.get_running_loop()
        # DBOS makes its pool the loop's default one, and shuts it down: destroy it from outside, and put a new one.
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
        """For looking at workflows from outside."""
        if self._client is None:
            raise RuntimeError("The engine has not been launched.")
        return self._client

    # ------------------------------------------------------------------ from anywhere

    async def submit(
        self,
        connection: AsyncConnection,
        workflow: str,
        workflow_id: str,
        argument: Json,
        *,
        queue: str,
        member_id: int | None = None,
        priority: int = NORMAL_PRIORITY,
    ) -> None:
        """Enqueues a workflow within the caller's transaction: both are committed, or neither.

        The same workflow id again changes nothing. `member_id` is required by queues that are fair by member.
        """
        options = _options(workflow, workflow_id, queue, member_id, priority)
        await connection.run_sync(
            lambda sync: self.client.enqueue_in_transaction(sync, options, argument),
        )

    async def cancel(self, workflow_id: str) -> None:
        """Cancels a workflow that is queued, or keeps a running one from taking another step."""
        await self.client.cancel_workflow_async(workflow_id)

    async def wake(self, workflow_id: str) -> None:
        """Ends the `sleep_or_wake` of a workflow; one that does not sleep will not sleep the next time."""
        await self.client.send_async(workflow_id, "wake", WAKE)

    async def states(self, workflow_ids: Sequence[str]) -> dict[str, LifeState]:
        """Which of some workflows go on, are done, or are dead, without a result; what is not there is left out."""
        found: dict[str, LifeState] = {}
        for start in range(0, len(workflow_ids), _MOST_ASKED):
            asked = list(workflow_ids[start : start + _MOST_ASKED])
            for status in await self.client.list_workflows_async(
                workflow_ids=asked, load_input=False, load_output=False
            ):
                dead = status.status in _DEAD
                found[status.workflow_id] = "dead" if dead else "done" if status.status == "SUCCESS" else "alive"
        return found

    async def dead(self, workflow: str, since_ms: int) -> dict[str, Json]:
        """The arguments of a kind's workflows begun since then that ended without their result, by their ids."""
        since = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat()
        found: dict[str, Json] = {}
        for status in await self.client.list_workflows_async(
            name=workflow, status=list(_DEAD), start_time=since, load_output=False
        ):
            given: Any = status.input
            with contextlib.suppress(TypeError, LookupError, ValueError):  # no argument of ours
                found[status.workflow_id] = dict(given["args"][0])
        return found

    async def result(self, workflow_id: str) -> Any | None:
        """The result of a workflow that has ended, a JSON object; None while it goes on, or is not there.

        Raises WorkCancelledError when it was cancelled, given up, or failed, or when its result cannot be read.
        """
        for status in await self.client.list_workflows_async(workflow_ids=[workflow_id], load_input=False):
            if status.status == "SUCCESS":
                if not isinstance(status.output, dict):  # what DBOS could not decode, it gives as it stands
                    raise WorkCancelledError(workflow_id)
                return status.output
            if status.status in _DEAD:
                raise WorkCancelledError(workflow_id)
        return None

    # ------------------------------------------------------------------ within a workflow

    @staticmethod
    async def step(name: str, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a function once and records its result; after a crash a recorded step is not run again."""

        async def body() -> R:
            return await function(*args, **kwargs)

        result: R = await DBOS.run_step_async({"name": name}, body)
        return result

    @staticmethod
    async def delegate(
        workflow: str,
        workflow_id: str,
        argument: Json,
        *,
        queue: str,
        member_id: int | None = None,
        priority: int = NORMAL_PRIORITY,
        unwanted: Callable[[], Awaitable[bool]] | None = None,
    ) -> Any:
        """Has a workflow run by whoever serves `queue`, and waits for its result.

        `unwanted` is asked once it is enqueued: a cancellation that came before found nothing to cancel.
        Raises WorkCancelledError when it was cancelled or given up.
        """
        options = _options(workflow, workflow_id, queue, member_id, priority)
        handle = await DBOS.enqueue_workflow_with_options_async(options, argument)
        if unwanted is not None and await Engine.step("still wanted", unwanted):
            await DBOS.cancel_workflow_async(workflow_id)
        try:
            return await handle.get_result(polling_interval_sec=RESULT_POLL_S)
        except (DBOSAwaitedWorkflowCancelledError, DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded) as error:
            raise WorkCancelledError(workflow_id) from error

    @staticmethod
    async def hand_over(workflow: str, workflow_id: str, argument: Json, *, queue: str) -> None:
        """Has a workflow run by whoever serves `queue`, and does not wait for it; see `result`."""
        options = _options(workflow, workflow_id, queue, None, NORMAL_PRIORITY)
        await DBOS.enqueue_workflow_with_options_async(options, argument)

    @staticmethod
    async def sleep(seconds: float) -> None:
        """A durable sleep: after a restart only the rest of it is slept."""
        await DBOS.sleep_async(max(0.0, seconds))

    @staticmethod
    async def sleep_or_wake(seconds: float) -> None:
        """A durable sleep that `wake` ends early; it may end early by itself too, so ask what time it is."""
        try:
            await DBOS.recv_async(WAKE, timeout_seconds=max(0.0, seconds))
        except NotPortableError as error:  # somebody's forged wake-up call keeps ours from being heard
            log.error("A wake-up call was refused: %s", error)
            await asyncio.sleep(min(max(0.0, seconds), UNHEARD_S))  # not recorded: next time it may be heard


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
