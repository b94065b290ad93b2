"""Releases of a model: made once from a candidate that won, live until the next one, taken back by one step.

Every change is in the caller's transaction. Of two that change a model's releases at once, one waits for the other, or
fails: neither are two releases live, nor is one made twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.releases import Candidate, Evidence, Margin, Release, ReleaseFacts
from bot.store.learning import candidates as candidate_store
from migrations.database import now_ms, take_turns, upsert_into
from migrations.schema import candidates, learning_pauses, releases, rounds
from migrations.states.learning import CandidateState, ReleaseState


class OutdatedCandidateError(Exception):
    """A candidate was compared with another release than the one that is live now."""


async def live_or_none(connection: AsyncConnection, model_id: str) -> Release | None:
    """Return the live release of a model; None where the base model is in use."""
    query = select(releases).where(releases.c.model_id == model_id, releases.c.state == ReleaseState.LIVE)
    row = (await connection.execute(query)).first()
    return Release.from_row(row) if row else None


async def get_or_none(connection: AsyncConnection, model_id: str, number: int) -> Release | None:
    """Return a release of a model; None where there is none of that number."""
    query = select(releases).where(releases.c.model_id == model_id, releases.c.number == number)
    row = (await connection.execute(query)).first()
    return Release.from_row(row) if row else None


async def history(connection: AsyncConnection, model_id: str, most: int = 25) -> Sequence[Release]:
    """Return the releases of a model, the newest first."""
    query = select(releases).where(releases.c.model_id == model_id).order_by(releases.c.number.desc()).limit(most)
    return [Release.from_row(row) for row in await connection.execute(query)]


async def make(connection: AsyncConnection, candidate_id: int) -> Release:
    """Release a candidate that won, and return its release; a repetition returns the same one.

    Raises WrongStateError where the candidate has not won, and OutdatedCandidateError where another release is live
    than the one that it was compared with.
    """
    candidate = await candidate_store.get(connection, candidate_id, lock=True)
    row = (await connection.execute(select(releases).where(releases.c.candidate_id == candidate_id))).first()
    if row is not None:
        return Release.from_row(row)
    if candidate.state != CandidateState.WON or candidate.adapter_sha256 is None:
        raise candidate_store.WrongStateError(candidate_id, candidate.state, CandidateState.RELEASED)
    all_of_model = await _lock(connection, candidate.model_id)
    live = next((release for release in all_of_model if release.state == ReleaseState.LIVE), None)
    if candidate.parent != (None if live is None else live.number):
        raise OutdatedCandidateError
    if live is not None:
        await _set_state(connection, live, ReleaseState.REPLACED)
    number = max((release.number for release in all_of_model), default=0) + 1
    await connection.execute(
        insert(releases).values(
            model_id=candidate.model_id,
            number=number,
            candidate_id=candidate_id,
            adapter_sha256=candidate.adapter_sha256,
            parent=candidate.parent,
            registration=candidate.registration,
            battle_round_id=candidate.battle_round_id,
            state=ReleaseState.LIVE,
            made_at_ms=now_ms(),
        )
    )
    await candidate_store.advance(connection, candidate_id, CandidateState.RELEASED)
    made = await get_or_none(connection, candidate.model_id, number)
    assert made is not None  # noqa: S101  # inserted above
    return made


async def roll_back(
    connection: AsyncConnection, model_id: str, *, number: int, by: int
) -> tuple[Release, Release | None] | None:
    """Take a live release back; return it with the release that is live instead, or None for the base model.

    That is the latest release before it that was not taken back itself. Return None where the release of that number
    is not live: a repetition takes nothing else back.
    """
    all_of_model = await _lock(connection, model_id)
    by_number = {release.number: release for release in all_of_model}
    live = by_number.get(number)
    if live is None or live.state != ReleaseState.LIVE:
        return None
    await _set_state(connection, live, ReleaseState.ROLLED_BACK, rolled_back_at_ms=now_ms(), rolled_back_by=by)
    before = by_number.get(live.parent or 0)
    while before is not None and before.state == ReleaseState.ROLLED_BACK:
        before = by_number.get(before.parent or 0)
    if before is not None:
        await _set_state(connection, before, ReleaseState.LIVE)
    return live, before


async def set_manifest(connection: AsyncConnection, model_id: str, number: int, manifest_sha256: str) -> None:
    """Record the hash of a release's manifest, which is the root of its commitment on the ledger."""
    await connection.execute(
        update(releases)
        .where(releases.c.model_id == model_id, releases.c.number == number)
        .values(manifest_sha256=manifest_sha256)
    )


async def is_paused(connection: AsyncConnection, model_id: str) -> bool:
    """Return True while nothing of a model may be trained, battled or released by itself."""
    query = select(learning_pauses.c.model_id).where(learning_pauses.c.model_id == model_id)
    return await connection.scalar(query) is not None


async def pause(connection: AsyncConnection, model_id: str, *, by: int) -> bool:
    """Pause the learning loop of a model; return False where it is paused already."""
    changed = await connection.execute(
        upsert_into(connection, learning_pauses)
        .values(model_id=model_id, paused_by=by, paused_at_ms=now_ms())
        .on_conflict_do_nothing()
    )
    return bool(changed.rowcount)


async def resume(connection: AsyncConnection, model_id: str) -> bool:
    """End the pause of a model's learning loop; return False where there is none."""
    changed = await connection.execute(delete(learning_pauses).where(learning_pauses.c.model_id == model_id))
    return bool(changed.rowcount)


async def facts(connection: AsyncConnection, shown: Sequence[Release]) -> list[ReleaseFacts]:
    """Return some releases with what shaped each: its data set's votes and rounds, and its battle's margin."""
    query = (
        select(candidates, rounds.c.number.label("battle_round"))
        .outerjoin(rounds, rounds.c.id == candidates.c.battle_round_id)
        .where(candidates.c.id.in_([release.candidate_id for release in shown]))
    )
    by_id = {row.id: row for row in await connection.execute(query)}
    return [_facts(release, by_id[release.candidate_id]) for release in shown]


def _facts(release: Release, row: Row[tuple[object, ...]]) -> ReleaseFacts:
    candidate = Candidate.from_row(row)
    return ReleaseFacts(
        release,
        data_votes=candidate.data_votes,
        data_rounds=candidate.data_rounds,
        margin=Margin.from_verdict(candidate.verdict),
        evidence=Evidence.from_verdict(candidate.verdict),
        battle_round=row.battle_round,
    )


async def _lock(connection: AsyncConnection, model_id: str) -> list[Release]:
    """Return all releases of a model, locked for the transaction."""
    await take_turns(connection, "releases", model_id)  # before the first release there is no row to lock
    query = select(releases).where(releases.c.model_id == model_id).order_by(releases.c.number).with_for_update()
    return [Release.from_row(row) for row in await connection.execute(query)]


async def _set_state(connection: AsyncConnection, release: Release, state: ReleaseState, **values: object) -> None:
    await connection.execute(
        update(releases)
        .where(releases.c.model_id == release.model_id, releases.c.number == release.number)
        .values(state=state, **values)
    )
