"""The figures of a told loop, from files, rows and readings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.learning import figures
from bot.demo.learning.figures import SeenPair
from bot.domain.battles import Battle, Verdict, VerdictState
from bot.store.learning import candidates
from generation.feedback.community.tastes import TASTES, Facts
from generation.tiny.training.captions import Caption
from migrations.states.learning import CandidateState
from tests.builders.battle_rounds import a_verdict
from tests.builders.releases import a_candidate

WARM = Facts("red", "star", "jump", 0.7, 0.1, 0.01, 0.5, 0.05)
COLD = replace(WARM, colour="blue", warm=-0.7)
CAPTIONS = {"a star that jumps": Caption("a star that jumps", shape="star", motion="jump")}


def a_battle(verdict: Verdict | None) -> Battle:
    """What is read of a battle round."""
    return cast(Battle, SimpleNamespace(round=SimpleNamespace(number=2), registration_hash="ab", verdict=verdict))


def pair(before: Facts, after: Facts, prompt: str = "a star that jumps") -> SeenPair:
    return SeenPair(1, prompt, 7, after, before, (b"", b""))


def test_adherence_is_the_share_of_what_prompts_name() -> None:
    """Before and after; prompts of which nobody knows what they ask for do not count."""
    wrong = replace(WARM, shape="circle")
    pairs = [pair(WARM, WARM), pair(wrong, WARM), pair(COLD, wrong), pair(WARM, WARM, "something else")]
    assert figures.adherence_of(pairs, CAPTIONS) == {"before": round(5 / 6, 4), "after": round(5 / 6, 4)}
    assert figures.adherence_of([pair(wrong, WARM)], CAPTIONS) == {"before": 0.5, "after": 1.0}
    assert figures.adherence_of([pair(WARM, WARM, "something else")], CAPTIONS) is None


def test_the_taste_itself_judges_the_pairs() -> None:
    """Ties are halves, and no pairs say nothing."""
    assert (
        figures.liked([pair(COLD, WARM), pair(COLD, WARM), pair(WARM, COLD), pair(WARM, WARM)], TASTES["warm"]) == 0.625
    )
    assert figures.liked([], TASTES["warm"]) == 0.5


async def test_a_training_is_told_from_what_it_left(database: AsyncEngine, tmp_path: Path) -> None:
    """The worker's result, and the pairs of the data set; without either the numbers are nought."""
    made = await a_candidate(database, CandidateState.READY)
    async with database.connect() as connection:
        candidate = await candidates.get(connection, made)
    nothing = figures.training_of(tmp_path, candidate)
    assert (nothing["candidate"], nothing["votes"], nothing["seconds"], nothing["pairs"]) == (made, 312, 0.0, 0)
    folder = tmp_path / "trainings" / f"{made}-abc"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"videos": 96, "seconds": 41.5, "drift": 0.07, "guards": ["ok"]}))
    dataset = figures.dataset_folder(tmp_path, candidate)
    dataset.mkdir(parents=True)
    (dataset / "manifest.json").write_text(json.dumps({"files": {"pairs/train.parquet": {"rows": 140}}}))
    told = figures.training_of(tmp_path, candidate)
    assert (told["videos"], told["seconds"], told["drift"], told["pairs"], told["guards"]) == (
        96,
        41.5,
        0.07,
        140,
        ["ok"],
    )


def test_a_battle_is_told_by_its_verdict() -> None:
    """Shares instead of thousandths, and the gate's own sentence; a round without a verdict has no figures."""
    verdict = a_verdict(VerdictState.RELEASED, reasons=("They like it.",), evidence_milli=41_500, survives_needed=3)
    told = figures.battle_result(a_battle(verdict), [pair(COLD, WARM)], TASTES["warm"])
    assert (told["win_rate"], told["interval"], told["evidence"], told["k"]) == (0.611, [0.402, 0.79], 41.5, 3)
    assert (told["verdict"], told["sentence"], told["pairs"], told["liked"]) == ("released", "They like it.", 1, 1.0)
    with pytest.raises(LookupError):
        figures.battle_result(a_battle(None), [], TASTES["warm"])
