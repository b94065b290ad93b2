"""The part of the panel about the learning loop: what is being trained or compared, and the live release.

A release is shown with what shaped it, with the sentence of its verdict, and with videos from before and after, where
the demo has kept some: the files that members compared.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypedDict

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.releases import Candidate
from bot.files.filmstrips import filmstrip_path
from bot.store.battles import rounds as battles
from bot.store.learning import releases, trainings
from migrations.files import write_private
from migrations.schema import candidates as candidate_rows
from migrations.states.learning import CandidateState

FOLDER = "compared"  # in the state
INDEX = "index.json"
PATH = "/compared/"
NAME = r"[0-9a-z-]{1,80}[.](mp4|png)"


class Comparison(TypedDict):
    """One prompt and seed by the model before a release, and by the release: addresses on the page."""

    prompt: str
    before: str
    after: str


class CandidateFacts(TypedDict):
    """The newest candidate: its state, the progress of its training, and that of its battle's pairs."""

    number: int
    state: str
    phase: str | None
    step: int
    steps: int
    pairs_made: int
    pairs: int
    reason: str | None


class LiveRelease(TypedDict):
    """The live release and what shaped it; shares are from 0 to 1."""

    number: int
    adapter: str
    votes: int | None
    rounds: int | None
    voters: int | None
    win_rate: float | None
    low: float | None
    high: float | None
    sentence: str
    manifest: str | None
    filmstrip: str | None
    comparisons: list[Comparison]


class LearningFacts(TypedDict):
    """The learning loop, as the panel shows it."""

    candidate: CandidateFacts | None
    release: LiveRelease | None


async def look_at_learning(database: AsyncEngine, state: Path, model_id: str) -> LearningFacts | None:
    """Return the facts of a model's learning; None where nothing was ever trained."""
    async with database.connect() as connection:
        row = (
            await connection.execute(
                select(candidate_rows)
                .where(candidate_rows.c.model_id == model_id)
                .order_by(candidate_rows.c.id.desc())
                .limit(1)
            )
        ).first()
        if row is None:
            return None
        release = await _live(connection, state, model_id)
    return {"candidate": await _candidate(database, Candidate.from_row(row)), "release": release}


async def _candidate(database: AsyncEngine, candidate: Candidate) -> CandidateFacts:
    step = pairs = None
    if candidate.state in {CandidateState.TRAINING, CandidateState.CHECKING}:
        step = await trainings.step_of(database, f"training-{candidate.id}")
    if candidate.battle_round_id is not None:
        pairs = await battles.count_pairs(database, candidate.battle_round_id)
    return {
        "number": candidate.id,
        "state": str(candidate.state),
        "phase": step.phase if step else None,
        "step": step.step if step else 0,
        "steps": step.steps if step else 0,
        "pairs_made": pairs.all - pairs.waiting if pairs else 0,
        "pairs": pairs.all if pairs else 0,
        "reason": candidate.reason,
    }


async def _live(connection: AsyncConnection, state: Path, model_id: str) -> LiveRelease | None:
    live = await releases.live_or_none(connection, model_id)
    if live is None:
        return None
    [facts] = await releases.facts(connection, [live])
    query = select(candidate_rows.c.verdict).where(candidate_rows.c.id == live.candidate_id)
    verdict, margin = await connection.scalar(query), facts.margin
    strip = filmstrip_path(state / "data", model_id, live.number)
    return {
        "number": live.number,
        "adapter": live.adapter_sha256,
        "votes": facts.data_votes,
        "rounds": facts.data_rounds,
        "voters": margin.voters if margin else None,
        "win_rate": margin.win_rate if margin else None,
        "low": margin.low if margin else None,
        "high": margin.high if margin else None,
        "sentence": " ".join(map(str, (verdict or {}).get("reasons", []))),
        "manifest": live.manifest_sha256,
        "filmstrip": f"{PATH}{strip.name}" if strip.is_file() else None,
        "comparisons": comparisons_of(state, live.number),
    }


# --------------------------------------------------------------------------- the files


def keep_comparisons(state: Path, number: int, pairs: list[tuple[str, bytes, bytes]]) -> None:
    """Keep pairs of videos for the page: the prompt, the file from before a release, and the one by it."""
    folder = state / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    entries = []
    for place, (prompt, before, after) in enumerate(pairs, 1):
        names = {side: f"{number}-{place}-{side}.mp4" for side in ("before", "after")}
        write_private(folder / names["before"], before)
        write_private(folder / names["after"], after)
        entries.append({"prompt": prompt, **{side: f"{PATH}{name}" for side, name in names.items()}})
    write_private(folder / f"{number}-{INDEX}", json.dumps(entries).encode())


def comparisons_of(state: Path, number: int) -> list[Comparison]:
    """Return the pairs that were kept for a release; none where that cannot be read."""
    try:
        entries = json.loads((state / FOLDER / f"{number}-{INDEX}").read_text(encoding="utf-8"))
        return [{"prompt": each["prompt"], "before": each["before"], "after": each["after"]} for each in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def file_of(state: Path, name: str) -> Path | None:
    """Return the file of a name on the page: a kept video, or a filmstrip; None where there is none."""
    if not re.fullmatch(NAME, name):
        return None
    path = state / FOLDER / name if name.endswith(".mp4") else state / "data" / "filmstrips" / name
    return path if path.is_file() else None
