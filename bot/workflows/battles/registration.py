"""The registration of a battle round, written from its plan: everything that is fixed before the first vote."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.battles import BallotSize, BattlePair, BattlePlan, PairPlan
from bot.domain.errors import BattleLedgerError, BattleOpenError, CandidateBehindError
from bot.store.battles.attempts import Attempt, attempts_of
from bot.store.learning import candidates, releases
from generation.feedback.registration import Prompt, Registration, Rule, commitment_of, prompts_root, rule_for


@dataclass(frozen=True)
class AttemptFacts:
    """The place of a battle round among the attempts at a release, and what its candidate is made of."""

    community: str  # a hash: no name
    attempt: int
    last_failed: int  # the latest attempt before it that did not end in a release; 0 for none
    base_revision: str
    data_root: str


def registration_of(plan: BattlePlan, salt: bytes, facts: AttemptFacts, like: Rule | None = None) -> Registration:
    """Return the registration of a plan; `like` is a rule with the community's own numbers.

    The salt is in it by its commitment alone. Raises RegistrationError where the plan cannot be registered, and
    ValueError where its ballots are not those of the rule.
    """
    rule = rule_for(facts.attempt, facts.last_failed, like)
    if plan.size != BallotSize.of_rule(rule):
        raise ValueError("The plan has other ballots than its rule.")
    registration = Registration(
        community=facts.community,
        attempt=facts.attempt,
        last_failed=facts.last_failed,
        base_model=plan.live.model_id,
        base_revision=facts.base_revision,
        live_release=plan.live.adapter,
        candidate=plan.candidate.adapter or "",
        data_root=facts.data_root,
        prompts_root=prompts_root(prompts_of(plan.pairs)),
        pairs=sum(pair.decoy is None for pair in plan.pairs),
        opens=plan.opens_ms // 1000,
        closes=-(-plan.closes_ms // 1000),
        salt_commitment=commitment_of(salt),
        rule=rule,
        eligibility=plan.eligibility,
    )
    registration.check()
    return registration


def prompts_of(pairs: Sequence[PairPlan] | Sequence[BattlePair]) -> list[Prompt]:
    """Return the prompts that a registration has the root of, in their registered order, catch pairs included."""
    return [Prompt(str(pair.number), pair.prompt, pair.seed, catch=pair.decoy is not None) for pair in pairs]


class GateRegistrar:
    """Writes registrations that the release gate judges by, each the next attempt of the model."""

    def __init__(self, model_id: str, pepper: bytes, like: Rule | None = None) -> None:
        """`pepper` keeps the community's hash from being guessed from the model's name."""
        self._model_id = model_id
        self._community = hmac.new(pepper, b"flock community 1" + model_id.encode(), hashlib.sha256).hexdigest()
        self._like = like

    async def __call__(self, connection: AsyncConnection, plan: BattlePlan, salt: bytes) -> bytes:
        """Return the registration of a plan.

        Raises BattleOpenError while another battle round of the model is open, BattleLedgerError while an earlier one
        is on its way to the ledger, and CandidateBehindError where the candidate continues another release than the
        live one.
        """
        candidate = await candidates.get(connection, plan.candidate_id, lock=True)
        live = await releases.live_or_none(connection, self._model_id)
        if candidate.parent != (live and live.number) or plan.live.adapter != (live and live.adapter_sha256):
            raise CandidateBehindError(number=candidate.id)
        before = await attempts_of(connection, self._model_id)
        number, last_failed = _next(before)
        for attempt in before:
            if attempt.is_open:
                raise BattleOpenError(number=attempt.round_number)
            if not attempt.is_settled:
                raise BattleLedgerError(what=f"battle round {attempt.round_number}")
        facts = AttemptFacts(
            community=self._community,
            attempt=number,
            last_failed=last_failed,
            base_revision=candidate.base_revision,
            data_root=candidate.data_root,
        )
        return registration_of(plan, salt, facts, self._like).canonical_bytes()

    async def next_rule(self, connection: AsyncConnection) -> Rule:
        """Return the rule that the next attempt would be registered with."""
        return rule_for(*_next(await attempts_of(connection, self._model_id)), self._like)


def _next(before: Sequence[Attempt]) -> tuple[int, int]:
    """Return the number of the next attempt, and the latest one before it without a release; 0 for none."""
    failed = (place for place, each in enumerate(before, 1) if not each.is_released)
    return len(before) + 1, max(failed, default=0)
