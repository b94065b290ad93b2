"""Candidates and releases of a model: adapters that were tuned on votes, and those that won their battle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from migrations.states.learning import CandidateState, ReleaseState


@dataclass(frozen=True)
class Candidate:
    """A row of `candidates`; migrations/schema/learning.py explains the fields."""

    id: int
    model_id: str
    base_revision: str
    parent: int | None
    data_root: str
    data_votes: int | None
    data_rounds: int | None
    recipe: Mapping[str, object]
    seed: int
    adapter_sha256: str | None
    size_bytes: int | None
    machine: str | None
    state: CandidateState
    reason: str | None
    registration: str | None
    battle_round_id: int | None
    verdict: Mapping[str, object] | None
    begun_at_ms: int
    made_at_ms: int | None
    decided_at_ms: int | None

    @classmethod
    def from_row(cls, row: object) -> Self:
        """Return the candidate in a row that has all columns of `candidates`."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        return cls(**{**values, "state": CandidateState(values["state"])})


@dataclass(frozen=True)
class Release:
    """A row of `releases`; migrations/schema/learning.py explains the fields."""

    model_id: str
    number: int
    candidate_id: int
    adapter_sha256: str
    parent: int | None
    registration: str | None
    battle_round_id: int | None
    manifest_sha256: str | None
    state: ReleaseState
    made_at_ms: int
    rolled_back_at_ms: int | None
    rolled_back_by: int | None

    @classmethod
    def from_row(cls, row: object) -> Self:
        """Return the release in a row that has all columns of `releases`."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        return cls(**{**values, "state": ReleaseState(values["state"])})


@dataclass(frozen=True)
class Margin:
    """The result of a battle as members read it: shares are from 0 to 1, ties count half."""

    voters: int
    win_rate: float
    low: float | None = None  # the ends of its interval, where they are known
    high: float | None = None

    @classmethod
    def from_verdict(cls, verdict: Mapping[str, object] | None) -> Self | None:
        """Return the margin in the verdict of the release gate, as JSON; None where it says none."""
        if verdict is None:
            return None
        voters, win_rate = verdict.get("voters"), _share(verdict.get("win_rate_permille"))
        if not isinstance(voters, int) or win_rate is None:
            return None
        interval = verdict.get("interval_permille")
        low, high = map(_share, interval) if isinstance(interval, list) and len(interval) == 2 else (None, None)
        return cls(voters, win_rate, low, high)


@dataclass(frozen=True)
class Evidence:
    """The evidence of a battle, as it was needed for the release: after the removal of the voters who helped most."""

    votes: int
    milli: int  # thousandths
    needed: int
    removed: int  # k: so many voters

    @classmethod
    def from_verdict(cls, verdict: Mapping[str, object] | None) -> Self | None:
        """Return the evidence in the verdict of the release gate, as JSON; None where it says none."""
        names = ("votes", "evidence_milli", "evidence_needed", "survives_needed")
        values = [(verdict or {}).get(name) for name in names]
        numbers = [value for value in values if isinstance(value, int)]
        return cls(*numbers) if len(numbers) == len(names) else None


@dataclass(frozen=True)
class ReleaseFacts:
    """A release with what shaped it, as members read it; None where nothing is known."""

    release: Release
    data_votes: int | None = None
    data_rounds: int | None = None
    margin: Margin | None = None
    evidence: Evidence | None = None
    battle_round: int | None = None  # the number of its battle round in the server


def _share(permille: object) -> float | None:
    return permille / 1000 if isinstance(permille, int) and 0 <= permille <= 1000 else None
