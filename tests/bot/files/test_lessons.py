"""A candidate's files as the bot takes them in: an adapter that is checked whole, and a taste that may be missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.files.lessons import Lessons
from generation.adapters.file import adapter_path
from generation.adapters.taste import trained_taste_path
from generation.adapters.transfer import send
from generation.feedback.tensor_files import bytes_of, write_tensors
from generation.jobs import TrainingResult
from migrations.files import sha256_file
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.tastes import a_taste, write_taste

LAYERS = [f"attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")]
LAYERS += ["ffn.net.0.proj", "ffn.net.2"]


def adapter(inner: int = 4, number: float = 0.1) -> bytes:
    halves = {}
    for layer in LAYERS:
        halves[f"transformer.blocks.0.{layer}.lora_A.weight"] = np.full((2, inner), number, np.float32)
        halves[f"transformer.blocks.0.{layer}.lora_B.weight"] = np.full((6, 2), number, np.float32)
    return bytes_of(halves)


def keep_model(data_dir: Path) -> None:
    """One block of Wan where the bot looks for the embedded model."""
    folder = data_dir / "models" / "tiny"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    weights = {f"blocks.0.{layer}.weight": np.zeros((6, 4), np.float32) for layer in LAYERS}
    write_tensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", weights)


@pytest.mark.parametrize("has_model", [True, False])
async def test_a_sound_candidate_is_taken_in(database: AsyncEngine, tmp_path: Path, has_model: bool) -> None:
    """With the model's files on this machine and without them; one of another shape only where nobody can tell."""
    data_dir = tmp_path / "data"
    if has_model:
        keep_model(data_dir)
    lessons = Lessons(database=database, data_dir=data_dir, models_file=None, pepper=b"p")
    _, sha256 = write_adapter(data_dir, adapter())
    assert await lessons.take_in(sha256, "tiny") is None
    _, misfit = write_adapter(data_dir, adapter(inner=5))
    reason = await lessons.take_in(misfit, "tiny")
    assert (reason is not None and "does not fit the model's layer" in reason) == has_model


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (adapter(number=float("nan")), "not finite"),
        (adapter(number=1e6), "far too large"),
        (bytes_of({"transformer.a.weight": np.zeros((2, 2), np.float32)}), "is not here"),  # not even brought here
    ],
)
async def test_an_unsound_candidate_is_turned_down(
    database: AsyncEngine, tmp_path: Path, data: bytes, words: str
) -> None:
    """With a sentence, whether or not the model is here."""
    lessons = Lessons(database=database, data_dir=tmp_path / "data", models_file=None, pepper=b"p")
    _, sha256 = write_adapter(tmp_path / "data", data)
    reason = await lessons.take_in(sha256, "tiny")
    assert reason is not None
    assert words in reason


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
    assert [await lessons.take_in(hashes[0], "tiny", hashes[1]) for _ in range(2)] == [None, None]
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
        assert await lessons.take_in(hashes[0], "tiny", hashes[1]) is None
        assert adapter_path(bot, hashes[0]).is_file()
        assert not trained_taste_path(bot, hashes[0]).exists()
    assert await lessons.take_in(hashes[0], "tiny", None) is None  # of a training that left none
    assert "the bot does not offer it" in str(await lessons.take_in("ab" * 32, "tiny", hashes[1]))
