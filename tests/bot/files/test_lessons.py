"""A candidate's files as the bot takes them in: an adapter that must be whole, and a taste that may be missing."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.files.lessons import Lessons
from generation.adapters.file import adapter_path
from generation.adapters.taste import trained_taste_path
from generation.adapters.transfer import send
from generation.jobs import TrainingResult
from migrations.files import sha256_file
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.tastes import a_taste, write_taste


def lessons_of(database: AsyncEngine, data_dir: Path) -> Lessons:
    return Lessons(database=database, data_dir=data_dir, models_file=None, pepper=b"p" * 32)


async def sent(
    database: AsyncEngine, lessons: Lessons, adapter: Path, taste: Path, *, whole: bool = True
) -> tuple[str, str]:
    """The hashes of both files, expected by the bot and sent by a training worker; the taste only where it is whole."""
    hashes = sha256_file(adapter), sha256_file(taste)
    result = TrainingResult(
        hashes[0], adapter.stat().st_size, "m", 4, 0.1, 9.0, True, [], [], [], hashes[1], taste.stat().st_size
    )
    async with database.begin() as connection:
        await lessons.expect_files(connection, result)
    await send(database, adapter, hashes[0])
    if whole:
        await send(database, taste, hashes[1])
    return hashes


async def test_a_candidate_comes_with_its_taste(database: AsyncEngine, tmp_path: Path) -> None:
    """The taste under the name of its adapter; taking both in again changes nothing."""
    lessons, bot = lessons_of(database, tmp_path / "bot"), tmp_path / "bot"
    adapter, _ = write_adapter(tmp_path / "trainer", adapter_bytes())
    taste = tmp_path / "trainer" / "taste.safetensors"
    write_taste(taste, a_taste("tiny@r1", 6))
    hashes = await sent(database, lessons, adapter, taste)
    assert [await lessons.take_in(*hashes) for _ in range(2)] == [None, None]
    assert adapter_path(bot, hashes[0]).read_bytes() == adapter.read_bytes()
    assert trained_taste_path(bot, hashes[0]).read_bytes() == taste.read_bytes()


async def test_a_taste_that_is_missing_or_none_costs_the_candidate_nothing(
    database: AsyncEngine, tmp_path: Path
) -> None:
    """The candidate is taken in without it; an adapter that is missing is a reason against the candidate."""
    bot = tmp_path / "bot"
    lessons = lessons_of(database, bot)
    odd = tmp_path / "odd"
    odd.write_bytes(b"\x80\x04pickled")
    for number, whole in enumerate((True, False)):
        adapter, _ = write_adapter(tmp_path / "trainer", adapter_bytes(number=0.5 + number))
        odd.write_bytes(odd.read_bytes() + b"x")
        hashes = await sent(database, lessons, adapter, odd, whole=whole)
        assert await lessons.take_in(*hashes) is None
        assert adapter_path(bot, hashes[0]).is_file()
        assert not trained_taste_path(bot, hashes[0]).exists()
    assert await lessons.take_in(hashes[0], None) is None  # of a training that left none
    assert "the bot does not offer it" in str(await lessons.take_in("ab" * 32, hashes[1]))
