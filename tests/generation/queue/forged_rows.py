"""A process of the engine whose tables somebody has filled with pickles: forged_rows.py URL ROLE MARKS [--unguarded].

Every column that DBOS decodes holds a pickle that writes the column's name into MARKS when it is decoded. The program
makes the engine read all of them, then gives it honest work, and prints how each workflow ended, as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import pickle
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import TableClause, column, insert, table, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from generation.queue import engine as engines
from generation.queue.engine import Engine, QueueSpec
from generation.queue.row_rules import RULE, TABLES
from migrations.database import open_database, upgrade_database

LISTENED, NOBODYS = "bot", "nobody's"
OVER = {"SUCCESS", "ERROR", "CANCELLED"}
# How a row says that it was written: as a pickle, not at all, and in two ways that nobody here knows.
SERIALIZATIONS = ("py_pickle", None, "custom_serializer", "superjson")
ARGUMENTS = ("workflow_input.inputs", "workflow_status.inputs")
RESULTS = ("workflow_output.output", "workflow_output.error", "workflow_status.output", "workflow_status.error")
STEPS = ("operation_outputs.output", "operation_outputs.error")
MESSAGES = ("notifications.message",)
TOLD = ("workflow_events.value", "streams.value")
COLUMNS = (*ARGUMENTS, *RESULTS, *STEPS, *MESSAGES, *TOLD)


class Mark:
    """A pickle that, decoded, runs code: it writes a word into a file."""

    def __init__(self, file: Path, word: str) -> None:
        self.file, self.word = file, word

    def __reduce__(self) -> tuple[Any, ...]:
        code = f"open({str(self.file)!r}, 'a').write({self.word + chr(10)!r})"
        return eval, (f"({code}, {{'args': ({{}},), 'kwargs': {{}}}})[1]",)


class Forger:
    """Writes rows that FLock would never write, into the tables of the engine."""

    def __init__(self, engine: Engine, marks: Path) -> None:
        self.engine = engine
        self.marks = marks
        self.schema = None if engine.database.dialect.name == "sqlite" else "dbos"

    async def forge(self, name: str, serialization: str | None) -> str:
        """Makes a workflow of which one row holds a pickle; the workflow's id."""
        workflow = f"{name} {serialization}"
        code = base64.b64encode(pickle.dumps(Mark(self.marks, name))).decode()
        place, field = name.split(".")
        row = {"workflow_uuid": workflow, field: code, "serialization": serialization}
        now = int(time.time() * 1000)
        async with self.engine.database.begin() as connection:
            if name in ARGUMENTS:
                await self._submit(connection, workflow, {"do": "nothing"})
                await self._change(connection, "workflow_input", workflow, inputs=None)
                await self._change(connection, place, workflow, inputs=code)
                await self._change(connection, "workflow_status", workflow, serialization=serialization)
            elif name in RESULTS:
                await self._submit(connection, workflow, {"do": "nothing"}, queue=NOBODYS)
                over = {"serialization": serialization, "status": "SUCCESS" if field == "output" else "ERROR"}
                await self._change(connection, "workflow_status", workflow, **over)
                if place == "workflow_status":
                    await self._change(connection, place, workflow, **{field: code})
                else:
                    del row["serialization"]
                    await self._insert(connection, place, **row, retention_timestamp=now)
                await self._submit(connection, f"{workflow} waits", {"do": "wait", "for": workflow})
            elif name in STEPS:
                await self._submit(connection, workflow, {"do": "step"})
                await self._insert(
                    connection, place, **row, function_id=1, function_name="look", retention_timestamp=now
                )
            elif name in MESSAGES:
                await self._submit(connection, workflow, {"do": "sleep"})
                sent = {"destination_uuid": workflow, "message_uuid": workflow, "topic": engines.WAKE}
                told = {"message": code, "serialization": serialization, "created_at_epoch_ms": now}
                await self._insert(connection, place, **sent, **told)
            else:
                await self._submit(connection, workflow, {"do": "nothing"}, queue=NOBODYS)
                more = {"offset": 0, "function_id": 1} if place == "streams" else {}
                await self._insert(connection, place, **row, key="k", **more)
        return workflow

    def _table(self, name: str, *columns: str) -> TableClause:
        return table(name, *(column(name) for name in columns), schema=self.schema)

    async def _insert(self, connection: AsyncConnection, name: str, **values: Any) -> None:
        await connection.execute(insert(self._table(name, *values)).values(**values))

    async def _change(self, connection: AsyncConnection, name: str, workflow: str, **values: Any) -> None:
        changed = self._table(name, "workflow_uuid", *values)
        await connection.execute(update(changed).where(changed.c.workflow_uuid == workflow).values(**values))

    async def _submit(
        self, connection: AsyncConnection, workflow: str, argument: dict[str, Any], queue: str = LISTENED
    ) -> None:
        await self.engine.submit(connection, "work", workflow, argument, queue=queue)

    async def read(self, name: str, workflow: str) -> None:
        """Reads the row from outside too, in every way that there is; what is refused is nobody's loss here."""
        client = self.engine.client
        ways: list[Callable[[], Awaitable[Any]]] = [
            lambda: self.engine.result(workflow),
            lambda: client.list_workflows_async(workflow_ids=[workflow]),
            lambda: client.list_workflow_steps_async(workflow),
        ]
        if name == "workflow_events.value":
            ways.append(lambda: client.get_event_async(workflow, "k", 0.1))
        if name == "streams.value":
            ways.append(lambda: anext(aiter(client.read_stream_async(workflow, "k"))))
        for way in ways:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await way()

    async def ended(self, workflow: str) -> str:
        """Waits until a workflow is over; how it ended."""
        async with asyncio.timeout(60):
            while True:
                [found] = await self.engine.client.list_workflows_async(
                    workflow_ids=[workflow], load_input=False, load_output=False
                )
                if found.status in OVER:
                    return str(found.status)
                await asyncio.sleep(0.05)


async def work(argument: dict[str, Any]) -> dict[str, Any]:
    """A workflow that reads what its argument says."""

    async def look() -> str:
        return "seen"

    if argument["do"] == "wait":
        await Engine.delegate("work", argument["for"], {}, queue=NOBODYS)
    elif argument["do"] == "step":
        await Engine.step("look", look)
    elif argument["do"] == "sleep":
        await Engine.sleep_or_wake(0.5)
    return {"done": argument["do"]}


async def drop_rules(database: AsyncEngine) -> None:
    """Take the database's own rule away, with which none of the rows could be written."""
    async with database.begin() as connection:
        for name in TABLES:
            if database.dialect.name == "sqlite":
                for event in ("insert", "update"):
                    await connection.execute(text(f"DROP TRIGGER IF EXISTS {RULE}_{name}_{event}"))
            else:
                await connection.execute(text(f"ALTER TABLE dbos.{name} DROP CONSTRAINT IF EXISTS {RULE}"))


async def main(url: str, role: Any, marks: Path, *, guarded: bool) -> None:
    if not guarded:
        engines.read_portable_json_only = lambda: None
    engines.UNHEARD_S = 0.1
    await upgrade_database(url)
    database = open_database(url)
    engine = Engine(database, url, role=role, queues=[QueueSpec(LISTENED, 100), QueueSpec(NOBODYS, 1, listen=False)])
    engine.workflow("work")(work)
    await engine.launch()
    await drop_rules(database)  # as if the rows came with a backup, or from before the rule
    forger = Forger(engine, marks)
    ends: dict[str, str] = {}
    for serialization in SERIALIZATIONS if guarded else SERIALIZATIONS[:1]:
        for name in COLUMNS:
            workflow = await forger.forge(name, serialization)
            if name in RESULTS:
                ends[workflow] = await forger.ended(f"{workflow} waits")
            elif name not in TOLD:
                ends[workflow] = await forger.ended(workflow)
            await forger.read(name, workflow)
    for honest in ("nothing", "step", "sleep"):
        async with database.begin() as connection:
            await engine.submit(connection, "work", f"honest {honest}", {"do": honest}, queue=LISTENED)
        ends[f"honest {honest}"] = await forger.ended(f"honest {honest}")
    await engine.close()
    await database.dispose()
    sys.stdout.write(json.dumps(ends))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), guarded="--unguarded" not in sys.argv))
