"""The taste that a job asks for: brought here and checked, or left out with one line in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.adapters.transfer import offer_file
from generation.jobs import BestOf, RenderJob
from generation.render_messages import TasteChoice
from generation.worker.learning.model_files import ModelFiles
from migrations.database import open_database, upgrade_database
from migrations.files import sha256_file
from tests.builders.tastes import a_taste, write_taste


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[AsyncEngine]:
    await upgrade_database(sqlite_url)
    engine = open_database(sqlite_url)
    yield engine
    await engine.dispose()


def a_job(taste_sha256: str | None) -> RenderJob:
    return RenderJob("42", "p", 7, "tiny", best_of=None if taste_sha256 is None else BestOf(4, taste_sha256))


async def test_a_taste_comes_through_the_database(
    database: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole and under its hash. A job that asks for none gets none."""
    files = ModelFiles(database, tmp_path / "worker", closing=asyncio.Event())
    path = tmp_path / "bot.safetensors"
    sha256 = write_taste(path, a_taste("tiny@r1", 6))
    await offer_file(database, path, sha256)
    there = tmp_path / "worker" / "tastes" / f"{sha256}.safetensors"
    assert await files.taste_of(a_job(sha256)) == TasteChoice(4, sha256, str(there))
    assert there.read_bytes() == path.read_bytes()
    assert await files.taste_of(a_job(None)) is None
    assert not caplog.records


async def test_a_taste_that_cannot_be_used_is_said_once(
    database: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that nobody offers, and one that is no taste scorer: videos are rendered once, and none fails."""
    caplog.set_level(logging.WARNING)
    files = ModelFiles(database, tmp_path / "worker", closing=asyncio.Event())
    path = tmp_path / "odd.safetensors"
    path.write_bytes(b"\x80\x04pickled")
    await offer_file(database, path, odd := sha256_file(path))
    for sha256, says in (("ab" * 32, "the bot does not offer it"), (odd, "cannot be used")):
        assert [await files.taste_of(a_job(sha256)) for _ in range(2)] == [None, None]
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 1
        assert "videos are rendered once" in lines[0]
        assert says in lines[0]
        caplog.clear()
