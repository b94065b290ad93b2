"""The votes that the gate is given are those of the ledger, in its order; the order within a batch has to be told."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.audit.attempts import read_attempts
from contracts.audit.releases import check_releases
from contracts.audit.rules import Judged, LedgerVote, RuleError, votes_of
from contracts.manifests import document_hash
from contracts.outbox.vote_order import read_vote_order
from tests.builders.registered_round import RegisteredRound


def a_round(*, end: bool = True) -> RegisteredRound:
    game = RegisteredRound(pairs=2)
    game.vote(["ct"])
    game.vote(["lc"], careless=True)
    if end:
        game.end()
    return game


def votes(game: RegisteredRound, *, told: bool = False) -> list[LedgerVote]:
    replay = game.log.replay()
    attempt = read_attempts(replay, game.log.documents, [])[document_hash(game.text)]
    order = read_vote_order(game.told_order()) if told else {}
    return votes_of(attempt, {index: voter for voter, index in replay.voters.items()}, order)


def test_votes_come_batch_by_batch_with_what_they_mean() -> None:
    """A side means nothing before its reveal; a catch pair has a right answer."""
    assert [(vote.voter, vote.outcome) for vote in votes(a_round())] == [
        ("4", "candidate"), ("4", "tie"), ("4", "catch_passed"),
        ("5", "live"), ("5", "candidate"), ("5", "catch_failed"),
    ]  # fmt: skip
    assert votes(a_round(end=False)) == []


def test_within_a_batch_the_told_order_is_taken() -> None:
    """Both answered the catch pair first, which the ledger does not show; batches stay in the ledger's order."""
    game = a_round()
    assert [vote.outcome for vote in votes(game, told=True)] == [
        "catch_passed", "candidate", "tie", "catch_failed", "live", "candidate",
    ]  # fmt: skip
    game.order.reverse()  # the second batch cannot come before the first one
    assert [vote.voter for vote in votes(game, told=True)] == ["4"] * 3 + ["5"] * 3


def test_a_rule_that_cannot_be_applied_is_a_problem_of_its_release_alone() -> None:
    """The gate says why; an attempt without a release is listed without evidence."""

    def gate(content: bytes, counted: Sequence[LedgerVote]) -> Judged:
        assert (content, len(counted)) == (game.text, 6)
        raise RuleError("It has no rule.")

    game = a_round()
    report = game.log.report()
    check_releases(game.log.replay(), game.log.documents, report, gate)
    assert report.problems == []
    assert report.attempts[0].evidence_milli is None
    game.release()
    check_releases(game.log.replay(), game.log.documents, report, gate)
    assert report.problems == ["The rule of release 2 cannot be applied: It has no rule."]
