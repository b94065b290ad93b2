"""The registered rule, applied to the votes on the ledger: a release has to follow from them once more.

The rule itself is the release gate's, which is handed in: this room only says which votes the ledger holds, and in
which order. What the gate needs and the ledger does not show, it has to name as assumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from contracts.audit.attempts import Attempt
from contracts.audit.replay import Replay
from contracts.audit.replayed import Position, ReplayedBattle, ReplayedCommitment
from contracts.manifests import DECOY
from contracts.outbox.vote_order import VoteOrderError, read_vote_order

CANDIDATE, LIVE, TIE, CATCH_PASSED, CATCH_FAILED = "candidate", "live", "tie", "catch_passed", "catch_failed"
NO_ORDER = (
    "nobody shows the order of its votes within a batch, so those of one member in one batch were taken by the "
    "numbers of their battles"
)


class RuleError(ValueError):
    """A registration has no rule that can be applied; the sentence says why."""


@dataclass(frozen=True)
class LedgerVote:
    """A vote that stands on the ledger, its battle revealed. Votes of one `batch` were written together."""

    voter: str
    pair: str
    outcome: str
    batch: Position


@dataclass(frozen=True)
class Judged:
    """The gate's verdict on a round's votes. Evidence is in thousandths, after the removal of the k voters."""

    passes: bool  # in whichever order the members of one batch voted
    passes_in_told_order: bool
    evidence_milli: int
    evidence_needed: int
    voters: int  # counted ballots
    voters_needed: int
    removals: int  # k
    reason: str
    assumed: tuple[str, ...] = ()  # that the ledger does not show, as clauses


# Judges votes by the rule in a registration's text. Raises RuleError where the text has no rule to apply.
Gate = Callable[[bytes, Sequence[LedgerVote]], Judged]


def votes_of(
    attempt: Attempt, voter_ids: Mapping[int, bytes], order: Mapping[tuple[bytes, bytes], int]
) -> list[LedgerVote]:
    """Return the votes of revealed battles in the ledger's order, and within a batch in the order that was told."""
    placed: list[tuple[Position, int, int, LedgerVote]] = []
    for number, battle in attempt.battles.items():
        outcomes = _outcomes(battle, attempt.registration.candidate)
        for voter, choice in battle.ballots.items():
            if choice in outcomes:
                at = battle.cast_at[voter]
                place = order.get((battle.key, voter_ids.get(voter, b"")), len(order))
                placed.append((at, place, number, LedgerVote(str(voter), str(number), outcomes[choice], at)))
    placed.sort(key=lambda each: (*each[:3], each[3].voter))
    return [vote for _, _, _, vote in placed]


def _outcomes(battle: ReplayedBattle, candidate: str) -> dict[int, str]:
    """Return the meaning of each choice; of none while nobody knows the sides, or where both are one model."""
    models = [model.hex() for model in battle.models or ()]
    if not models or models[0] == models[1]:
        return {}
    if DECOY in models:
        right = 2 if models[0] == DECOY else 1
        return {choice: CATCH_PASSED if choice == right else CATCH_FAILED for choice in (1, 2, 3)}
    a, b = (CANDIDATE, LIVE) if models[0] == candidate else (LIVE, CANDIDATE)
    return {1: a, 2: b, 3: TIE}


def judge_attempt(
    replay: Replay,
    attempt: Attempt,
    documents: Mapping[str, bytes],
    gate: Gate,
    release: ReplayedCommitment | None,
) -> tuple[Judged | None, str | None]:
    """Return the verdict of the rule on an attempt that is over, and why there is none, if so.

    The description of `release` names the order of votes within batches.
    """
    if attempt.round.winner is None or not attempt.battles:
        return None, None
    order = None if release is None else _order(release, documents)
    voter_ids = {index: voter for voter, index in replay.voters.items()}
    try:
        judged = gate(documents[attempt.round.meta.hex()], votes_of(attempt, voter_ids, order or {}))
    except RuleError as error:
        return None, str(error)
    if order is None and release is not None:
        judged = replace(judged, assumed=(*judged.assumed, NO_ORDER))
    return judged, None


def _order(release: ReplayedCommitment, documents: Mapping[str, bytes]) -> Mapping[tuple[bytes, bytes], int] | None:
    try:
        fields = json.loads(documents[release.meta.hex()])
        return read_vote_order(documents[fields["order"]])
    except (ValueError, RecursionError, KeyError, TypeError, VoteOrderError):
        return None


def check_rule(release: int, attempt: Attempt, judged: Judged) -> Iterator[str]:
    """Yield a sentence where the votes on the ledger do not pass the rule that a release was registered with."""
    if judged.passes or judged.passes_in_told_order:
        return
    about = attempt.registration
    yield (
        f"Release {release} does not pass the rule of attempt {about.attempt} (round {attempt.number}): the votes on "
        f"the ledger give {judged.voters} counted voters and, without any {judged.removals} of them, an evidence of "
        f"{judged.evidence_milli / 1000:,.1f}; the registration demands {judged.evidence_needed:,} from at least "
        f"{judged.voters_needed} voters. {judged.reason}"
    )


def notes_on(release: int, attempt: Attempt, judged: Judged) -> Iterator[str]:
    """Yield what a verdict rests upon beside the ledger."""
    if judged.passes_in_told_order and not judged.passes:
        yield (
            f"Release {release} passes its rule by the order of votes within a batch, which its description tells and "
            "the ledger does not show."
        )
    if judged.assumed:
        yield (
            f"The rule of release {release} was applied to the votes of round {attempt.number}. Assumed, since the "
            f"ledger does not show it: {'; '.join(judged.assumed)}."
        )
