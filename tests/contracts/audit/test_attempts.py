"""Attempts at a release: none is hidden, none is registered late, and each is about what it was registered for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.audit.releases import check_releases
from contracts.audit.report import AuditReport
from contracts.manifests import DECOY, base_model_hash, document_hash
from tests.builders.battles import PROMPTS, prompts_root, prompts_text
from tests.builders.ledger_log import Log, first_registration

BASE = base_model_hash("tiny@1")
TEXT = first_registration()


def report_of(log: Log) -> AuditReport:
    report, replay = log.report(), log.replay()
    check_releases(replay, log.documents, report)
    return report


def problems_of(log: Log) -> list[str]:
    return report_of(log).problems


def committed() -> Log:
    log = Log()
    log.dataset()
    return log


def attempt(number: int, last_failed: int) -> bytes:
    """Each with a candidate of its own, against the base model."""
    return first_registration(attempt=number, last_failed=last_failed, candidate=document_hash(b"%d" % number))


def fight(log: Log, number: int, last_failed: int) -> None:
    log.attempt(attempt(number, last_failed), candidate=document_hash(b"%d" % number), live=BASE)


def test_failed_attempts_in_a_row_are_no_contradiction() -> None:
    """They are what honest tries look like."""
    log = committed()
    for number in (1, 2, 3):
        fight(log, number, number - 1)
    assert problems_of(log) == []


def test_a_missing_failed_attempt_is_found() -> None:
    """By the gap, where its round holds no battle; by its round, where nobody shows the registration."""
    log = committed()
    fight(log, 1, 0)
    fight(log, 3, 2)
    assert any("Nobody shows attempt 2 of community" in problem for problem in problems_of(log))
    log = committed()
    fight(log, 1, 0)
    fight(log, 2, 1)
    log.documents.pop(document_hash(attempt(1, 0)))
    found = problems_of(log)
    assert any("Round 1 holds battles, and nobody shows its registration" in problem for problem in found)
    assert any("Nobody shows attempt 1 of community" in problem for problem in found)


def test_an_attempt_that_denies_a_failed_one_is_found() -> None:
    """It would have spent more of the error budget than was left."""
    log = committed()
    fight(log, 1, 0)
    fight(log, 2, 0)
    assert any("names attempt 0 as the last that failed; by the ledger it is 1" in p for p in problems_of(log))


def test_two_rounds_of_one_attempt_are_found() -> None:
    """The better one could be picked; the same registration twice is no better."""
    log = committed()
    fight(log, 1, 0)
    log.attempt(first_registration(candidate=document_hash(b"1"), rule={}), candidate=document_hash(b"1"), live=BASE)
    assert any("both registered as attempt 1" in problem for problem in problems_of(log))
    log = committed()
    fight(log, 1, 0)
    fight(log, 1, 0)
    assert any("have the same registration" in problem for problem in problems_of(log))


def test_attempts_out_of_order_are_found() -> None:
    """A second attempt before the first was a way to choose which one was to spend the budget."""
    log = committed()
    fight(log, 2, 1)
    fight(log, 1, 0)
    assert any("was registered before an earlier one" in problem for problem in problems_of(log))


def test_votes_before_the_registration_are_found() -> None:
    """By their place in the log, whatever the times of the round say."""
    log = committed()
    log.attempt(TEXT, live=BASE)
    opened = next(place for place, event in enumerate(log.events) if event.name == "RoundOpened")
    voted = next(place for place, event in enumerate(log.events) if event.name == "VotesRecorded")
    log.events.insert(opened, replace(log.events.pop(voted), block=0))
    assert any("Round 1 was registered after its first vote" in problem for problem in problems_of(log))


@pytest.mark.parametrize("late", [False, True])
def test_a_data_set_that_was_not_committed_to_before_is_found(late: bool) -> None:
    """It could have been made to fit."""
    log = Log()
    log.attempt(TEXT, live=BASE)
    if late:
        log.dataset()
    words = "before its data set was committed to" if late else "that was never committed to"
    assert any(words in problem for problem in problems_of(log))


def test_a_battle_that_was_never_revealed_is_found() -> None:
    """Nobody can tell who won it; a round that is not final yet may still keep its sides."""
    log = committed()
    number = log.open(TEXT)
    log.battles(number, live=BASE)
    assert problems_of(log) == []
    log.end(number, live=BASE)
    log.events.pop()
    assert any("1 of its battles are not revealed" in problem for problem in problems_of(log))


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (("a cat",), "lacks 1 battles"),
        (("a cat", "a dog", "a dog"), "holds 1 battles about prompts that it was not registered with"),
        (("a cat", "a cow"), "lacks 1 battles"),
    ],
)
def test_battles_about_other_prompts_than_registered_are_found(prompts: tuple[str, ...], words: str) -> None:
    """Each prompt as often as it was registered."""
    log = committed()
    log.attempt(TEXT, live=BASE, prompts=prompts)
    assert any(words in problem for problem in problems_of(log))


def test_catch_pairs_need_no_battle_and_may_have_one() -> None:
    """They are registered with the others."""
    for prompts in (("a cat", "a dog"), ("a cat", "a dog", "a trap")):
        log = committed()
        root = prompts_root(catch=("a trap",))
        log.attempt(first_registration(prompts_root=root), live=BASE, prompts=prompts)
        log.keep(prompts_text(catch=("a trap",)))
        assert problems_of(log) == []


def test_prompts_that_nobody_shows_are_found() -> None:
    """A root alone could be of anything."""
    log = committed()
    log.attempt(TEXT, live=BASE)
    log.documents.pop(document_hash(prompts_text()))
    assert any("Nobody shows the prompts" in problem for problem in problems_of(log))


def test_prompts_of_an_open_round_are_a_note() -> None:
    """They tell which pairs are catch pairs, so nobody shows them before the end."""
    log = committed()
    log.battles(log.open(TEXT), live=BASE)
    log.documents.pop(document_hash(prompts_text()))
    report = report_of(log)
    assert report.problems == []
    assert any("The prompts of round" in note and "shown once it is over" in note for note in report.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "x"}, "its format is not"),
        ({"attempt": 0}, "cannot follow its last failed one"),
        ({"candidate": "x"}, "candidate must be 64 hex digits"),
        ({"live_release": 7}, "live_release must be 64 hex digits"),
    ],
)
def test_a_round_that_was_opened_with_something_else_is_found(change: dict[str, Any], words: str) -> None:
    """Its battles prove nothing about a release."""
    log = committed()
    log.attempt(first_registration(**change), live=BASE)
    assert any("opened with no registration" in problem and words in problem for problem in problems_of(log))


def test_a_round_that_was_abandoned_is_an_attempt() -> None:
    """Its registration stands on the ledger, with no battle: the number after it is not a gap, and it has failed."""
    log = committed()
    fight(log, 1, 0)
    log.open(attempt(2, 1))
    fight(log, 3, 2)
    assert problems_of(log) == []
    log = committed()
    log.open(attempt(1, 0))
    fight(log, 2, 0)
    assert any("names attempt 0 as the last that failed; by the ledger it is 1" in p for p in problems_of(log))


def test_who_failed_a_catch_pair_can_be_seen() -> None:
    """By its reveal: A shows another prompt here, and three voters chose it or neither. No candidate won by that."""
    log = committed()
    log.keep(prompts_text((), PROMPTS))
    log.attempt(first_registration(prompts_root=prompts_root((), PROMPTS)), candidate=DECOY, live=BASE)
    report = log.report()
    check_releases(log.replay(), log.documents, report)
    assert report.problems == []
    assert [(each.held_out, each.for_candidate, each.for_live) for each in report.attempts] == [(3, 0, 0)]


def test_a_battle_cannot_be_called_a_catch_pair_afterwards() -> None:
    """Whose votes are unwelcome could be held out by that."""
    log = committed()
    log.attempt(TEXT, candidate=DECOY, live=BASE)
    assert any("reveals 2 battles as catch pairs that were not registered" in each for each in problems_of(log))
