"""The numbers that a process gives its operator fit the story, and its health fits what runs."""

from __future__ import annotations

import asyncio
import platform
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from bot.domain.errors import OperatorError
from bot.monitoring.health import Health, database_watch
from bot.monitoring.metrics import Metrics, serving
from migrations.database import open_database, upgrade_database
from migrations.schema import chain_transactions
from tests.bot.conftest import Told, free_port, open_watched

ROOT = Path(__file__).parents[3]


async def metrics_of(port: int) -> tuple[dict[tuple[str, ...], float], str]:
    """Samples by name and label values, and the text itself."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {(s.name, *s.labels.values()): s.value for s in samples}, answer.text


async def state_of(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of an answer."""
    async with httpx.AsyncClient(timeout=15) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/{path}")
    return answer.status_code, answer.json()


async def test_the_numbers_fit_the_story(told: Told) -> None:
    """Videos, votes, renders, ledger entries: what the story's result says, both processes say too."""
    videos = told.result["videos"]
    for port in (told.metrics_port, told.worker_metrics_port):
        found, text = await metrics_of(port)
        assert found["flock_videos", "published"] == len(videos)
        assert found["flock_videos", "failed"] == 0
        assert found["flock_votes", "up"] == sum(video["votes"]["up"] for video in videos)
        assert found["flock_votes", "down"] == sum(video["votes"]["down"] for video in videos)
        assert found["flock_render_seconds_count",] == found["flock_render_seconds_bucket", "+Inf"] == len(videos)
        assert found["flock_outbox_entries", "pending"] == found["flock_outbox_oldest_seconds",] == 0
        assert found["flock_outbox_entries", "final"] > 0
        assert found["flock_gas_used_total", "votes"] > 21_000
        assert found["flock_processes", "bot"] == found["flock_processes", "worker"] == 1
        for word in (videos[0]["prompt"], "ana", told.story.video_ids[0]):
            assert word not in text  # nothing of members in it
    found, _ = await metrics_of(told.metrics_port)
    assert found["flock_vote_ack_seconds_count",] >= 8
    assert found["flock_gateway_connected",] == 1
    assert found["flock_relayer_trouble",] == found["flock_relayer_needs_seconds",] == 0
    found, _ = await metrics_of(told.worker_metrics_port)
    assert ("flock_gateway_connected",) not in found


async def test_what_is_served_is_documented(told: Told) -> None:
    """Each metric of bot and worker has its row in docs/operations.md, and each row is served by one of them."""
    table = set(
        re.findall(r"^\| `((?:flock|process)_[a-z_]+)", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    )
    names = {}
    for role, port in (("bot", told.metrics_port), ("worker", told.worker_metrics_port)):
        _, text = await metrics_of(port)
        names[role] = {
            name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if not name.endswith("_created")
        }
        assert f'flock_build_info{{python="{platform.python_version()}",role="{role}"' in text
    assert names["bot"] | names["worker"] <= table
    unseen = {"flock_relayer_left_seconds", "flock_gpu_memory_used_bytes", "flock_gpu_memory_total_bytes"}
    assert table - names["bot"] - names["worker"] <= unseen
    assert {"process_resident_memory_bytes", "flock_data_free_bytes", "flock_host_errors_total"} <= names["worker"]
    assert "flock_discord_errors_total" in names["bot"] - names["worker"]


async def test_who_is_well_says_so(told: Told) -> None:
    """Both processes are healthy and ready."""
    for port in (told.metrics_port, told.worker_metrics_port):
        for path in ("healthz", "readyz"):
            assert await state_of(port, path) == (200, {"ok": True, "wrong": {}})


async def test_a_bot_without_discord_or_chain_says_what_is_wrong(tmp_path: Path) -> None:
    """It is not ready at once, and unhealthy after a while; when all are back it is well again."""
    port = free_port()
    settings = {"FLOCK_METRICS_PORT": str(port), "FLOCK_UNHEALTHY_S": "3"}
    async with open_watched(tmp_path / "state", [], bot=settings) as story:
        await story.wait_for_bot(None)  # type: ignore[arg-type]  # it looks at Discord alone
        assert (await state_of(port, "healthz"))[0] == 200
        await story.stack.supervisor.forget("discord")
        await until(port, "readyz", 503, "Discord")
        await until(port, "healthz", 503, "Discord")


async def until(port: int, path: str, status: int, part: str) -> None:
    """Wait until an answer has this status and names the part."""
    async with asyncio.timeout(60):
        while True:
            answer_status, report = await state_of(port, path)
            if answer_status == status and part in report["wrong"]:
                return
            await asyncio.sleep(0.2)


async def test_reverted_transactions_are_counted_by_kind(tmp_path: Path) -> None:
    """Those that a block has: their gas is lost. What was given up before it was mined cost nothing."""
    url = f"sqlite:///{tmp_path}/flock.db"
    await upgrade_database(url)
    database = open_database(url)
    row = {"sender": "0x", "raw": b"", "hashes": [], "created_at_ms": 1, "kind": "link", "state": "reverted"}
    async with database.begin() as connection:
        for nonce, kind, block_hash in ((1, "link", "0x1"), (2, "link", "0x2"), (3, "votes", "0x3"), (4, "link", None)):
            values = {**row, "nonce": nonce, "kind": kind, "block_hash": block_hash}
            await connection.execute(insert(chain_transactions).values(**values))
    text = await Metrics(database, "bot").text()
    assert b'flock_reverts_total{kind="link"} 2.0' in text
    assert b'flock_reverts_total{kind="votes"} 1.0' in text
    assert b'flock_reverts_total{kind="close"} 0.0' in text  # or an alert would miss the first one
    await database.dispose()


async def test_a_database_that_is_gone(tmp_path: Path) -> None:
    """The numbers that need it are left out, and that it is gone is told."""
    url = f"sqlite:///{tmp_path}/flock.db"
    await upgrade_database(url)
    database = open_database(url)
    metrics = Metrics(database, "worker")
    assert b"flock_database_up 1.0" in await metrics.text()
    watch = database_watch(database)
    assert await watch.look() == (None, False)
    await database.dispose()
    (tmp_path / "flock.db").unlink()
    (tmp_path / "flock.db").mkdir()
    text = await metrics.text()
    assert b"flock_database_up 0.0" in text
    assert b"flock_videos" not in text
    wrong, late = await watch.look()
    assert wrong is not None
    assert not late  # for a moment that may happen
    await database.dispose()


async def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    """Two processes on one port: the second says what to set. Port 0 opens nothing."""
    database = open_database(f"sqlite:///{tmp_path}/flock.db")
    port = free_port()
    async with serving("127.0.0.1", port, Metrics(database, "bot"), Health({})):
        with pytest.raises(OperatorError, match="Set FLOCK_METRICS_PORT to a free port"):
            async with serving("127.0.0.1", port, Metrics(database, "worker"), Health({})):
                pass
        async with serving("127.0.0.1", 0, Metrics(database, "worker"), Health({})):
            assert await state_of(port, "healthz") == (200, {"ok": True, "wrong": {}})
    await database.dispose()
