"""The prompts of a battle round: held-out ones of the data set, and members' posted ones that no training has seen.

A candidate that is compared on prompts which it was trained on shows how well it remembers. The hash that splits a data
set holds some prompts out of every training there ever is. Any other posted prompt serves as long as no data set behind
the candidate has it in its training split: those of the candidate itself, and of each release that it goes on from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.releases import Candidate
from bot.files.lessons import FOLDER
from bot.store.battles import rounds as battles
from bot.store.learning import candidates, releases
from generation.feedback.dataset.files import DatasetError, read_manifest, rows_of
from generation.feedback.dataset.prompts import names_member, prompt_id, split_of

LOOKED_AT = 2000  # posted prompts, the newest first


@dataclass(frozen=True)
class BattlePrompts:
    """The prompts that a battle may show, held-out ones first, and how many were turned down."""

    prompts: tuple[str, ...]
    held_out: int  # of the prompts
    trained: int  # posted prompts that the candidate was, or may have been, trained on


async def prompts_for(
    database: AsyncEngine, data_dir: Path, guild_id: int, candidate: Candidate, most: int
) -> BattlePrompts:
    """Return at most so many distinct prompts of a guild's posted videos that the candidate was not trained on.

    Near duplicates of a trained prompt count as trained. Prompts that name a member are left out: a registration's
    prompts are handed on to everybody. Where a data set is not on this machine any more, held-out prompts alone serve.
    """
    posted = await battles.prompts_of_members(database, guild_id, LOOKED_AT)
    roots = await _roots_behind(database, candidate)
    trained = await asyncio.to_thread(_trained_on, data_dir, roots)
    held_out: dict[str, str] = {}
    fresh: dict[str, str] = {}
    turned_down = 0
    for prompt in posted:
        name = prompt_id(prompt)
        if names_member(prompt) or name in held_out or name in fresh:
            continue
        if split_of(prompt) == "test":
            held_out[name] = prompt
        elif trained is None or name in trained:
            turned_down += 1
        else:
            fresh[name] = prompt
    chosen = [*held_out.values(), *fresh.values()][:most]
    return BattlePrompts(tuple(chosen), min(len(held_out), most), turned_down)


async def _roots_behind(database: AsyncEngine, candidate: Candidate) -> Sequence[str]:
    """Return the roots of the data sets that a candidate was made of, its own and those of the releases before it."""
    roots, parent = [candidate.data_root], candidate.parent
    async with database.connect() as connection:
        while parent is not None:
            release = await releases.get_or_none(connection, candidate.model_id, parent)
            if release is None:
                break
            before = await candidates.get(connection, release.candidate_id)
            roots.append(before.data_root)
            parent = before.parent
    return list(dict.fromkeys(roots))


def _trained_on(data_dir: Path, roots: Sequence[str]) -> set[str] | None:
    """Return the ids of the prompts in the training splits; None where one of the data sets cannot be read."""
    names: set[str] = set()
    for root in roots:
        folder = data_dir / FOLDER / root
        try:
            read_manifest(folder)
            names |= {str(row["prompt_id"]) for row in rows_of(folder, "videos")}
        except (DatasetError, ImportError, OSError, ValueError, KeyError):  # gone, no pyarrow, or no table
            return None
    return names
