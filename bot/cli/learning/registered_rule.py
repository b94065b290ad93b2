"""The release gate for `flock audit`: the rule in a registration, applied to the votes on the ledger.

It is the gate that decided; its votes are others: those that the ledger holds, and not the bot's.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.audit.rules import Judged, LedgerVote, RuleError
from generation.feedback import gate
from generation.feedback.evidence.ballots import ballots_of
from generation.feedback.registration import Registration, RegistrationError, Rule, read_registration

NOT_SEEN = gate.Quality(motion=(1.0, 1.0), adherence=(1.0, 1.0), diversity=(1.0, 1.0))  # forbids nothing


def judge_by_registration(content: bytes, votes: Sequence[LedgerVote]) -> Judged:
    """Return the verdict on votes in the ledger's order, by the rule of a registration's text.

    Raises RuleError where the text is no registration that can be believed.
    """
    try:
        about = read_registration(content)
    except RegistrationError as error:
        raise RuleError(str(error)) from None
    told = _judge(votes, about.rule)
    hardest = _judge(_least_favourable(votes, about.rule), about.rule)
    return Judged(
        passes=hardest.state is gate.State.RELEASED,
        passes_in_told_order=told.state is gate.State.RELEASED,
        evidence_milli=told.evidence_milli,
        evidence_needed=told.evidence_needed,
        voters=told.voters,
        voters_needed=told.min_voters,
        removals=told.survives_needed,
        reason=" ".join(told.reasons),
        assumed=_assumed(about),
    )


def _judge(votes: Sequence[LedgerVote], rule: Rule) -> gate.Verdict:
    counted = [gate.Vote(vote.voter, vote.pair, gate.Outcome(vote.outcome)) for vote in votes]
    return gate.judge(counted, rule, NOT_SEEN, closed=True)


def _least_favourable(votes: Sequence[LedgerVote], rule: Rule) -> list[LedgerVote]:
    """Return the votes with the members of each batch in the order that helps the candidate least.

    Each member's own votes keep their order, and so their ballot. The ballots with the lowest shares come first, so the
    evidence is never larger than in any other order within the batch.
    """
    ballots = ballots_of([gate.Vote(vote.voter, vote.pair, gate.Outcome(vote.outcome)) for vote in votes], rule.ballot)
    shares = {ballot.voter: ballot.share for ballot in (*ballots.full, *ballots.at_close)}
    return sorted(votes, key=lambda vote: (vote.batch, shares.get(vote.voter, 0), vote.voter))


def _assumed(about: Registration) -> tuple[str, ...]:
    """Return what the gate takes for granted here, as clauses."""
    days, cast = about.eligibility.member_days, about.eligibility.votes_before
    clauses = [
        f"each voter was eligible ({days} days in the server and {cast} votes before the registration)",
        "neither motion, adherence nor diversity of the videos forbade the release",
    ]
    if about.tastes is not None:
        clauses.append("no registered group of one taste clearly loses (the ballots were halved for that in its place)")
    return tuple(clauses)
