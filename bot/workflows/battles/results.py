"""The result of a battle for its candidate, and the release of one that won, with its entry for the ledger."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.battles import Battle, Verdict, VerdictState
from bot.domain.releases import Candidate, Release
from bot.store.learning import candidates, releases
from bot.store.learning.candidates import WrongStateError
from contracts.manifests import ReleaseManifest, canonical_json
from contracts.outbox.commitments import enqueue_release
from contracts.outbox.documents import keep_document
from contracts.outbox.vote_order import order_of_votes
from generation.feedback.manifest import SEED, Manifest, ManifestError
from generation.strict_json import JsonObject
from migrations.schema import candidates as candidate_rows
from migrations.schema import commitments, rounds
from migrations.states.learning import CandidateState
from migrations.states.ledger import CommitmentKind

log = logging.getLogger(__name__)


class NotOnLedgerError(Exception):
    """A release cannot be entered for the ledger; str() is a sentence for moderators."""


@dataclass(frozen=True)
class MadeRelease:
    """A release, and why the ledger will not have it, if so."""

    release: Release
    obstacle: str | None = None


async def settle_candidate(connection: AsyncConnection, battle: Battle, verdict: Verdict) -> int | None:
    """Let the candidate of a battle round have won or lost, with the gate's reasons, in the caller's transaction.

    Return the candidate's id if it has won now.
    """
    query = select(candidate_rows.c.id).where(candidate_rows.c.battle_round_id == battle.round.id)
    candidate_id = await connection.scalar(query)
    if candidate_id is None:
        log.warning("Battle round %d has no candidate.", battle.round.id)
        return None
    won = verdict.state == VerdictState.RELEASED and battle.round.trouble is None
    state = CandidateState.WON if won else CandidateState.LOST
    reason = " ".join(verdict.reasons)
    if battle.round.trouble is not None:
        reason = battle.round.trouble
    try:
        await candidates.advance(connection, int(candidate_id), state, reason, verdict=verdict.to_json())
    except WrongStateError as error:  # a moderator withdrew it meanwhile, for one
        log.warning("Battle round %d is over as %s, and changes nothing: %s", battle.round.id, verdict.state, error)
        return None
    return int(candidate_id) if won else None


async def make_release(connection: AsyncConnection, candidate_id: int) -> MadeRelease:
    """Release a candidate that won, with its entry for the ledger, in the caller's transaction. Safe to repeat.

    Raises WrongStateError or OutdatedCandidateError, as `releases.make` does. A release that the ledger cannot have, as
    its data set or its parent was never entered, is made all the same, and the obstacle is told.
    """
    release = await releases.make(connection, candidate_id)
    candidate = await candidates.get(connection, candidate_id)
    try:
        async with connection.begin_nested():
            root = await _enter(connection, candidate, release)
    except (NotOnLedgerError, LookupError, ValueError) as error:
        log.warning("Release %d of %s is not entered for the ledger: %s", release.number, release.model_id, error)
        return MadeRelease(release, str(error))
    await releases.set_manifest(connection, release.model_id, release.number, root)
    made = await releases.get_or_none(connection, release.model_id, release.number)
    assert made is not None  # noqa: S101  # made above
    return MadeRelease(made)


async def _enter(connection: AsyncConnection, candidate: Candidate, release: Release) -> str:
    """Enter a release for the ledger; return the hash of its manifest, which is kept beside its description."""
    manifest = await manifest_of(connection, candidate, release)
    entered = ReleaseManifest.from_bytes(manifest.canonical_bytes())  # the ledger's side has a reader of its own
    assert release.battle_round_id is not None  # noqa: S101  # or it had no manifest
    order = await keep_document(connection, await order_of_votes(connection, release.battle_round_id))
    description = {
        "format": "flock release description 1",
        "model": release.model_id,
        "release": release.number,
        "made_at_ms": release.made_at_ms,
        "votes": candidate.data_votes,
        "rounds": candidate.data_rounds,
        "verdict": candidate.verdict,
        "order": order,  # of the votes, which the ledger keeps by batches alone
    }
    await enqueue_release(connection, manifest=entered, description=canonical_json(description))
    return manifest.hash()


async def manifest_of(connection: AsyncConnection, candidate: Candidate, release: Release) -> Manifest:
    """Return the manifest of a release, RELEASE.json. Raises NotOnLedgerError for what the ledger does not have yet."""
    battle = (
        await connection.execute(
            select(rounds.c.chain_key, rounds.c.chain_id).where(rounds.c.id == release.battle_round_id)
        )
    ).first()
    if battle is None or battle.chain_id is None or release.registration is None:
        raise NotOnLedgerError("Its battle round does not stand on the ledger.")
    number = await connection.scalar(
        select(commitments.c.number).where(
            commitments.c.kind == CommitmentKind.DATASET, commitments.c.root == candidate.data_root
        )
    )
    if number is None:
        raise NotOnLedgerError("The data set that it was tuned on does not stand on the ledger.")
    parent = None
    if release.parent is not None:
        before = await releases.get_or_none(connection, release.model_id, release.parent)
        parent = None if before is None else before.manifest_sha256
        if parent is None:
            raise NotOnLedgerError(f"Release {release.parent}, which it continues, was never entered for the ledger.")
    manifest = Manifest(
        base_model=f"{candidate.model_id}@{candidate.base_revision}",
        adapter=release.adapter_sha256,
        dataset=candidate.data_root,
        dataset_number=int(number),
        registration=release.registration,
        round_key=str(battle.chain_key).removeprefix("0x"),
        round_number=int(battle.chain_id),
        parent=parent,
        recipe={**cast(JsonObject, candidate.recipe), SEED: candidate.seed},
    )
    try:
        manifest.check()
    except ManifestError as error:
        raise NotOnLedgerError(str(error)) from error
    return manifest
