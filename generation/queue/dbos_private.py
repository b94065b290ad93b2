"""The private parts of DBOS that FLock needs all the same. No other file imports a private module of DBOS.

Another version of DBOS may have moved or changed them. Before TRIED_VERSION is changed, read in DBOS's sources that
each part still does what stands here; tests/generation/queue/test_dbos_private.py names them one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from dbos import _core, _serialization, _sys_db
from dbos._dbos import _get_dbos_instance
from dbos._error import DBOSAwaitedWorkflowCancelledError, DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded

TRIED_VERSION = "3.4"  # the minor version of DBOS with which these parts were tried

# The errors of a waiter whose workflow was cancelled, or given up: the public package exports neither.
AWAITED_WORKFLOW_ENDED = (DBOSAwaitedWorkflowCancelledError, DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded)

# The beginnings of what it says of workflows that end with the process, and go on in another one.
TASK_CANCELLED = "Asyncio task cancelled for workflow or step"
ENGINE_IS_OVER = "DBOS Error: System database accessed before DBOS was launched"

# The module that defines how rows are encoded and decoded, and those that decode rows with what they import from it.
SERIALIZATION = _serialization
DECODING_MODULES = (_serialization, _core, _sys_db)

CountRunning = Callable[[str], int]  # the workflows of a queue that run in this process


def replace_count_of_running(replacement_of: Callable[[CountRunning], CountRunning]) -> CountRunning:
    """Replace the count by which the running DBOS sees how much it may still take from a queue; return DBOS's own.

    DBOS takes a workflow while the count is below the queue's `worker_concurrency`. It has no public way to say that
    some workflows need no place, or that nothing more is to be taken. Call it after `DBOS.launch`.
    """
    running = _get_dbos_instance()._active_workflows_set
    count = running.count_for_queue
    running.count_for_queue = replacement_of(count)  # type: ignore[method-assign,assignment]  # of this one object
    return count


def untried_version() -> str | None:
    """Return a sentence that says what to check where another DBOS is installed than the one that was tried."""
    installed = version("dbos")
    if installed.split(".")[:2] == TRIED_VERSION.split("."):
        return None
    return (
        f"dbos {installed} is installed, and {TRIED_VERSION} was tried with FLock. Check "
        "generation/queue/dbos_private.py against its sources: that "
        "count_for_queue of its active workflows still limits what it takes from a queue, "
        "that it still decodes rows by the functions that portable_json replaces, and that get_result still raises "
        "these two errors. Then change TRIED_VERSION."
    )
