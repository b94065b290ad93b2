"""The figures of a told loop: what training and battle came to, and what the battle's videos show.

Those videos are the files that members compared. The community's taste and the prompts' words judge them here alone;
nobody else of FLock asks for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.learning.result import BattleResult, BeforeAfter, TrainingResult
from bot.demo.learning.watching import Watching
from bot.domain.battles import Battle
from bot.domain.releases import Candidate
from bot.files.blind import read_shown
from bot.store.battles import rounds as battles
from generation.feedback.community.prompts import asked_of, followed
from generation.feedback.community.tastes import Facts, Taste, win_rate
from generation.tiny.training.captions import Caption
from migrations.states.battles import PairState


@dataclass(frozen=True)
class SeenPair:
    """A pair as both models made it: the candidate's video, and the live model's."""

    number: int
    prompt: str
    seed: int
    after: Facts
    before: Facts
    files: tuple[bytes, bytes]  # before and after


async def pairs_seen(database: AsyncEngine, round_id: int, data_dir: Path, watching: Watching) -> list[SeenPair]:
    """Return the pairs of a round whose videos are here; those that check attention are left out."""
    seen = []
    for pair in await battles.pairs_of(database, round_id):
        if pair.is_catch or pair.state != PairState.READY:
            continue
        candidate, live = [read_shown(video, data_dir) for video in await battles.videos_of(database, pair.id)]
        if candidate is not None and live is not None:
            after, before = await watching.of(candidate), await watching.of(live)
            seen.append(SeenPair(pair.number, pair.prompt, pair.seed, after, before, (live, candidate)))
    return seen


def adherence_of(pairs: Sequence[SeenPair], captions: Mapping[str, Caption]) -> BeforeAfter | None:
    """Return the share of what prompts name that videos show, before and after; None where nobody can tell."""
    known = [(captions[pair.prompt], pair) for pair in pairs if pair.prompt in captions]
    asked = sum(len(asked_of(caption)) for caption, _ in known)
    if not asked:
        return None
    before = sum(followed(caption, pair.before) for caption, pair in known)
    after = sum(followed(caption, pair.after) for caption, pair in known)
    return {"before": round(before / asked, 4), "after": round(after / asked, 4)}


def liked(pairs: Sequence[SeenPair], taste: Taste) -> float:
    """Return the share of pairs whose candidate the taste itself likes more; ties are halves."""
    if not pairs:
        return 0.5
    return round(win_rate([pair.before for pair in pairs], [pair.after for pair in pairs], taste), 4)


async def motion_of(database: AsyncEngine, round_id: int) -> BeforeAfter | None:
    """Return the mean motion on the cards, before and after; None where no cards tell it."""
    both = [
        (first["motion"], second["motion"])
        for first, second in (await battles.cards_of(database, round_id)).values()
        if isinstance(first, dict) and isinstance(second, dict) and "motion" in first and "motion" in second
    ]
    if not both:
        return None
    return {"before": round(fmean(live for _, live in both), 6), "after": round(fmean(new for new, _ in both), 6)}


def training_of(data_dir: Path, candidate: Candidate) -> TrainingResult:
    """Return what the training worker and the data set say of a training."""
    done: dict[str, Any] = {}
    for path in sorted((data_dir / "trainings").glob(f"{candidate.id}-*/done.json")):
        done = json.loads(path.read_text(encoding="utf-8"))
    try:
        manifest = json.loads(dataset_folder(data_dir, candidate).joinpath("manifest.json").read_text(encoding="utf-8"))
        pairs = int(manifest["files"].get("pairs/train.parquet", {}).get("rows", 0))
    except (OSError, ValueError, KeyError):
        pairs = 0
    return {
        "candidate": candidate.id,
        "votes": candidate.data_votes or 0,
        "videos": int(done.get("videos", 0)),
        "pairs": pairs,
        "seconds": float(done.get("seconds", 0.0)),
        "drift": float(done.get("drift", 0.0)),
        "guards": [str(sentence) for sentence in done.get("guards", [])],
    }


def dataset_folder(data_dir: Path, candidate: Candidate) -> Path:
    """Return the folder of the data set that a candidate was trained on."""
    return data_dir / "datasets" / candidate.data_root


def battle_result(battle: Battle, pairs: Sequence[SeenPair], taste: Taste) -> BattleResult:
    """Return a battle round by its verdict, and what the taste itself says of its pairs. Raises LookupError."""
    verdict = battle.verdict
    if verdict is None:
        raise LookupError("The battle round has no verdict.")
    equal = verdict.equal_motion_permille
    return {
        "round": battle.round.number,
        "registration": battle.registration_hash,
        "pairs": len(pairs),
        "voters": verdict.voters,
        "votes": verdict.votes,
        "held_out": verdict.held_out,
        "win_rate": verdict.win_rate_permille / 1000,
        "interval": [edge / 1000 for edge in verdict.interval_permille],
        "equal_motion": None if equal is None else equal / 1000,
        "evidence": verdict.evidence_milli / 1000,
        "evidence_needed": verdict.evidence_needed,
        "k": verdict.survives_needed,
        "verdict": str(verdict.state),
        "sentence": " ".join(verdict.reasons),
        "liked": liked(pairs, taste),
    }
