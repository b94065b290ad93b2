"""Candidates: each step of a candidate's life, in the caller's transaction. A step that was taken may be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.releases import Candidate
from migrations.database import now_ms
from migrations.schema import candidates, releases
from migrations.states.learning import CandidateState, ReleaseState

OVER = (CandidateState.LOST, CandidateState.RELEASED, CandidateState.REJECTED, CandidateState.WITHDRAWN)
PASSED = (
    CandidateState.READY,
    CandidateState.BATTLING,
    CandidateState.WON,
    CandidateState.LOST,
    CandidateState.RELEASED,
)
# The states from which a candidate gets to each one.
FROM: Mapping[CandidateState, tuple[CandidateState, ...]] = {
    CandidateState.TRAINING: (CandidateState.CHECKING,),  # the machine that had its file is lost
    CandidateState.CHECKING: (CandidateState.TRAINING,),
    CandidateState.READY: (CandidateState.CHECKING,),
    CandidateState.BATTLING: (CandidateState.READY,),
    CandidateState.WON: (CandidateState.BATTLING,),
    CandidateState.LOST: (CandidateState.BATTLING,),
    CandidateState.RELEASED: (CandidateState.WON,),
    CandidateState.REJECTED: (CandidateState.TRAINING, CandidateState.CHECKING),
    CandidateState.WITHDRAWN: tuple(state for state in CandidateState if state not in OVER),
}


class WrongStateError(Exception):
    """A candidate is not in a state from which it could take this step."""

    def __init__(self, candidate_id: int, state: CandidateState, wanted: CandidateState) -> None:
        super().__init__(f"Candidate {candidate_id} is {state} and cannot become {wanted}.")
        self.state = state


async def begin(
    connection: AsyncConnection,
    *,
    model_id: str,
    base_revision: str,
    parent: int | None,
    data_root: str,
    recipe: Mapping[str, object],
    seed: int,
    data_votes: int | None = None,
    data_rounds: int | None = None,
) -> int:
    """Enter a candidate whose training begins; return its id."""
    added = await connection.execute(
        insert(candidates)
        .values(
            model_id=model_id,
            base_revision=base_revision,
            parent=parent,
            data_root=data_root,
            data_votes=data_votes,
            data_rounds=data_rounds,
            recipe=dict(recipe),
            seed=seed,
            state=CandidateState.TRAINING,
            begun_at_ms=now_ms(),
        )
        .returning(candidates.c.id)
    )
    return int(added.scalar_one())


async def get(connection: AsyncConnection, candidate_id: int, *, lock: bool = False) -> Candidate:
    """Return a candidate, locked for the transaction where asked. Raises LookupError where there is none."""
    query = select(candidates).where(candidates.c.id == candidate_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    if row is None:
        raise LookupError(f"There is no candidate {candidate_id}.")
    return Candidate.from_row(row)


async def record_file(
    connection: AsyncConnection, candidate_id: int, *, adapter_sha256: str, size_bytes: int, machine: str
) -> None:
    """Record the file that a training made: from training to checking. Raises WrongStateError."""
    await advance(
        connection,
        candidate_id,
        CandidateState.CHECKING,
        adapter_sha256=adapter_sha256,
        size_bytes=size_bytes,
        machine=machine,
        made_at_ms=now_ms(),
    )


async def begin_battle(
    connection: AsyncConnection, candidate_id: int, *, registration: str, battle_round_id: int
) -> None:
    """Record the battle round of a candidate, with the hash of its registration. Raises WrongStateError."""
    await advance(
        connection,
        candidate_id,
        CandidateState.BATTLING,
        registration=registration,
        battle_round_id=battle_round_id,
    )


async def advance(
    connection: AsyncConnection, candidate_id: int, state: CandidateState, reason: str | None = None, **values: object
) -> bool:
    """Move a candidate to its next state; return False where it is there already, and change nothing then.

    Raises WrongStateError where no way leads there, and LookupError where there is no such candidate.
    """
    candidate = await get(connection, candidate_id, lock=True)
    if candidate.state == state:
        return False
    if candidate.state not in FROM.get(state, ()):
        raise WrongStateError(candidate_id, candidate.state, state)
    if state in OVER:
        values["decided_at_ms"] = now_ms()
    await connection.execute(
        update(candidates).where(candidates.c.id == candidate_id).values(state=state, reason=reason, **values)
    )
    return True


async def note_reason(connection: AsyncConnection, candidate_id: int, state: CandidateState, reason: str) -> None:
    """Write down why a candidate in that state goes no further by itself; one in another state stays as it is."""
    await connection.execute(
        update(candidates).where(candidates.c.id == candidate_id, candidates.c.state == state).values(reason=reason)
    )


async def adapters_that_passed(connection: AsyncConnection, model_id: str, most: int = 25) -> list[str]:
    """Return the adapters of a model's newest candidates that passed their checks, the newest first.

    Those that were withdrawn, and those whose release was taken back, are left out.
    """
    taken_back = (
        select(releases.c.candidate_id)
        .where(releases.c.candidate_id == candidates.c.id, releases.c.state == ReleaseState.ROLLED_BACK)
        .exists()
    )
    query = (
        select(candidates.c.adapter_sha256)
        .where(candidates.c.model_id == model_id, candidates.c.state.in_(PASSED), ~taken_back)
        .order_by(candidates.c.id.desc())
        .limit(most)
    )
    return [sha256 for sha256 in await connection.scalars(query) if sha256 is not None]


async def in_states(
    connection: AsyncConnection, model_id: str, *states: CandidateState, most: int = 25
) -> Sequence[Candidate]:
    """Return a model's newest candidates in some states, or in any where none is named; the newest first."""
    query = select(candidates).where(candidates.c.model_id == model_id)
    if states:
        query = query.where(candidates.c.state.in_(states))
    rows = await connection.execute(query.order_by(candidates.c.id.desc()).limit(most))
    return [Candidate.from_row(row) for row in rows]
