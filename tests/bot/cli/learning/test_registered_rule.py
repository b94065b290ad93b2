"""A release has to pass its registered rule once more, by the votes that the ledger holds."""

from __future__ import annotations

from typing import Any

import pytest

from bot.cli.learning.registered_rule import judge_by_registration
from contracts.audit.releases import check_releases
from contracts.audit.report import AuditReport
from contracts.audit.rules import LedgerVote, RuleError
from contracts.ledger.batch_codec import Ballot, encode
from tests.builders.registered_round import RegisteredRound

WINNING = ["cc"] * 12


def audited(game: RegisteredRound) -> AuditReport:
    report, replay = game.log.report(), game.log.replay()
    assert replay.problems == []
    check_releases(replay, game.log.documents, report, judge_by_registration)
    return report


def released(*batches: list[str], **about: Any) -> RegisteredRound:
    game = RegisteredRound(**about)
    for words in batches:
        game.vote(words)
    game.end()
    game.release()
    return game


def test_a_release_that_won_its_votes_passes() -> None:
    """The evidence is told for the attempt, and what the ledger does not show is named as assumed."""
    report = audited(released(["cc"] * 6, ["cc"] * 6))
    assert report.problems == []
    [attempt] = report.attempts
    assert attempt.counted_voters == 9  # as many as decide; later ballots change nothing
    assert (attempt.evidence_needed, (attempt.evidence_milli or 0) >= 40_000) == (40, True)
    assert report.notes == [
        "The rule of release 2 was applied to the votes of round 1. Assumed, since the ledger does not show it: each "
        "voter was eligible (7 days in the server and 3 votes before the registration); neither motion, adherence nor "
        "diversity of the videos forbade the release."
    ]


def test_a_release_on_too_few_voters_is_found() -> None:
    """With the evidence found and the one demanded, in one sentence; its twin has twelve voters."""
    [problem] = audited(released(["cc"] * 5)).problems
    assert problem.startswith(
        "Release 2 does not pass the rule of attempt 1 (round 1): the votes on the ledger give 5 counted voters and, "
        "without any 2 of them, an evidence of "
    )
    assert "the registration demands 40 from at least 9 voters. Undecided after 5 voters at the close" in problem


def test_a_release_that_cannot_lose_k_voters_is_found() -> None:
    """The evidence is large enough with all of them, and not without the two who helped most."""
    words = ["cc"] * 8 + ["tt"] * 3  # eight factors of 1 + b are enough for 40, six are not
    [problem] = audited(released(words)).problems
    assert "without any 2 of them, an evidence of " in problem
    everybody = audited(released(words + ["cc"] * 6))
    assert everybody.problems == []


def test_votes_that_were_altered_are_found() -> None:
    """The bot counted eleven for the candidate; on the ledger stand four for the live model among them."""
    assert audited(released(["cc"] * 11)).problems == []
    [problem] = audited(released(["cc"] * 7 + ["ll"] * 4)).problems
    assert "does not pass the rule of attempt 1" in problem


def test_a_vote_that_was_changed_on_the_ledger_counts_as_it_stands() -> None:
    """A later batch turns the votes of four members round: the last choice is the one that stands."""
    game = RegisteredRound()
    game.vote(["cc"] * 11)
    replay, battles = game.log.replay(), set()
    ballots = []
    for number, battle in replay.battles.items():
        battles.add(number)
        ballots += [Ballot(number, voter - 4, 3 - choice) for voter, choice in battle.ballots.items() if voter < 8]
    game.log.add(
        "VotesRecorded", seq=1, round=game.number, at=6, first_seat=11, arrivals=[], words=encode(ballots, battles)
    )
    game.end()
    game.release()
    [problem] = audited(game).problems
    assert "give 7 counted voters" in problem


def test_members_who_fail_the_catch_pair_do_not_count() -> None:
    """They answered the revealed catch pair wrong; enough others are left in the twin."""
    game = RegisteredRound()
    game.vote(["cc"] * 6)
    game.vote(["cc"] * 6, careless=True)
    game.end()
    game.release()
    [problem] = audited(game).problems
    assert "give 6 counted voters" in problem


def test_a_pair_that_was_left_out_is_a_note_while_enough_remain() -> None:
    """A render can fail. Fewer than the rule's fewest are a problem."""
    report = audited(released(WINNING, missing=1, min_pairs=3))
    assert report.problems == []
    assert (
        "Round 1 lacks 1 battles about prompts that it was registered with; 3 pairs remain, and its rule demands 3."
        in report.notes
    )
    problems = audited(released(WINNING, missing=2, min_pairs=3)).problems
    assert problems == [
        "Round 1 lacks 2 battles about prompts that it was registered with: 2 pairs remain, and its rule demands 3."
    ]


def test_the_order_within_a_batch_is_told_and_named() -> None:
    """A member voted four times in one batch; without the text that tells the order, the audit says what it assumed."""
    game = RegisteredRound()
    game.vote(["ccll"] * 12)
    game.end()
    game.release()
    assert audited(game).problems == []
    silent = RegisteredRound()
    silent.vote(["ccll"] * 12)
    silent.end()
    silent.release(tell_order=False)
    assert any("nobody shows the order of its votes within a batch" in note for note in audited(silent).notes)


def test_an_order_that_alone_makes_the_release_is_named() -> None:
    """Those for the candidate come first in one batch. The ledger shows no order there: it is the operator's word."""
    words = ["cc"] * 9 + ["ll"] * 6
    report = audited(released(words))
    assert report.problems == []
    assert any("passes its rule by the order of votes within a batch" in note for note in report.notes)
    in_two = audited(released(["ll"] * 6, ["cc"] * 9))
    assert any("does not pass the rule" in problem for problem in in_two.problems)


def test_sides_are_drawn_again_from_the_salt() -> None:
    """Once it is shown; before that a note says that it was not."""
    game = RegisteredRound()
    game.vote(WINNING)
    game.end(show_salt=False)
    game.release()
    assert "Nobody shows the salt of round 1: its sides were not drawn again." in audited(game).notes
    other = RegisteredRound(salt=b"\7" * 32)  # another than the registered one
    other.log.keep(b"flock battle salt\0" + bytes(range(32)))
    other.vote(WINNING)
    other.end()
    other.release()
    assert "was hidden by another salt than the registration of round 1 gives its pair" in audited(other).problems[0]


def test_a_registration_without_a_rule_is_a_sentence() -> None:
    """No verdict is made up."""
    with pytest.raises(RuleError, match="no JSON"):
        judge_by_registration(b"{", [LedgerVote("1", "1", "candidate", (1, 1))])
