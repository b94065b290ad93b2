"""A battle is about prompts that no training of its candidate has seen, by the data sets behind it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.releases import Candidate
from bot.files.battle_prompts import BattlePrompts, prompts_for
from bot.files.lessons import FOLDER
from bot.store.learning import candidates
from generation.feedback.dataset.files import write
from generation.feedback.dataset.prompts import split_of
from generation.feedback.dataset.tables import tables_of
from migrations.schema import videos
from migrations.states.learning import CandidateState
from tests.bot.store.test_vote_writer import GUILD, add_round, add_video
from tests.builders.releases import a_candidate, a_release
from tests.builders.votes import community, video, vote

HELD_OUT = [prompt for prompt in (f"a fox number {n}" for n in range(60)) if split_of(prompt) == "test"][:2]
FRESH = [prompt for prompt in (f"a bird number {n}" for n in range(60)) if split_of(prompt) == "train"][:4]


async def post(database: AsyncEngine, prompts: Sequence[str]) -> None:
    """Videos of these prompts, the newest last."""
    await add_round(database, 50)
    for number, prompt in enumerate(prompts, start=1):
        await add_video(database, str(number), 50)
        async with database.begin() as connection:
            changed = videos.update().where(videos.c.id == str(number))
            await connection.execute(changed.values(prompt=prompt, created_at_ms=number))


def keep_dataset(data_dir: Path, prompts: Sequence[str]) -> str:
    """The root of a data set of videos with these prompts, as a training leaves it."""
    pytest.importorskip("pyarrow", reason="Data sets need the extra export.")
    made = community(
        videos=[video(prompt, prompt) for prompt in prompts], votes=[vote(prompt, "ben") for prompt in prompts]
    )
    draft = data_dir / FOLDER / "draft"
    draft.parent.mkdir(exist_ok=True)
    root = write(draft, tables_of(made, b"k" * 32)).root
    draft.rename(draft.with_name(root))
    return root


async def candidate_of(database: AsyncEngine, root: str, parent: int | None = None) -> Candidate:
    number = await a_candidate(database, CandidateState.READY, data_root=root, parent=parent)
    async with database.connect() as connection:
        return await candidates.get(connection, number)


async def test_held_out_prompts_come_first_and_trained_ones_never(database: AsyncEngine, tmp_path: Path) -> None:
    """A prompt that was posted after the training serves as well; a near duplicate of a trained one does not."""
    await post(database, [*FRESH, HELD_OUT[0], FRESH[0].upper() + "!", HELD_OUT[1]])
    candidate = await candidate_of(database, keep_dataset(tmp_path, [*FRESH[:2], HELD_OUT[0]]))
    chosen = await prompts_for(database, tmp_path, GUILD, candidate, 300)
    assert chosen == BattlePrompts((HELD_OUT[1], HELD_OUT[0], FRESH[3], FRESH[2]), held_out=2, trained=3)
    assert (await prompts_for(database, tmp_path, GUILD, candidate, 1)).prompts == (HELD_OUT[1],)
    assert (await prompts_for(database, tmp_path, GUILD + 1, candidate, 300)).prompts == ()


async def test_the_data_of_the_release_before_counts_too(database: AsyncEngine, tmp_path: Path) -> None:
    """A candidate goes on from its adapter, and so has learned its prompts."""
    await post(database, FRESH)
    first = await a_release(database, data_root=keep_dataset(tmp_path, FRESH[:1]))
    candidate = await candidate_of(database, keep_dataset(tmp_path, FRESH[1:2]), parent=first.number)
    assert (await prompts_for(database, tmp_path, GUILD, candidate, 300)).prompts == (FRESH[3], FRESH[2])
    alone = await candidate_of(database, candidate.data_root)
    assert (await prompts_for(database, tmp_path, GUILD, alone, 300)).prompts == (FRESH[3], FRESH[2], FRESH[0])


async def test_without_its_data_set_held_out_prompts_alone_serve(database: AsyncEngine, tmp_path: Path) -> None:
    """Nobody can tell any more what else it was trained on; the hash holds those out of every training."""
    await post(database, [*FRESH, *HELD_OUT])
    root = keep_dataset(tmp_path, FRESH[:1])
    candidate = await candidate_of(database, root)
    assert len((await prompts_for(database, tmp_path, GUILD, candidate, 300)).prompts) == 5
    shutil.rmtree(tmp_path / FOLDER / root)
    chosen = await prompts_for(database, tmp_path, GUILD, candidate, 300)
    assert chosen == BattlePrompts((HELD_OUT[1], HELD_OUT[0]), held_out=2, trained=4)


async def test_a_prompt_that_names_a_member_is_left_out(database: AsyncEngine, tmp_path: Path) -> None:
    """The prompts of a registration are handed on to everybody."""
    await post(database, [f"{HELD_OUT[0]} <@123>", HELD_OUT[1]])
    candidate = await candidate_of(database, "da" * 32)
    assert (await prompts_for(database, tmp_path, GUILD, candidate, 300)).prompts == (HELD_OUT[1],)
