"""Releases are followed back to what they claim to rest upon; each claim that the ledger denies is a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.audit.releases import check_releases
from contracts.audit.report import AuditReport
from contracts.manifests import base_model_hash, document_hash
from tests.builders.battles import CANDIDATE, registration
from tests.builders.ledger_log import Log, first_registration

BASE = base_model_hash("tiny@1")
OTHER = document_hash(b"another adapter")
TEXT = first_registration()


def audited(log: Log) -> AuditReport:
    report, replay = log.report(), log.replay()
    assert replay.problems == []
    check_releases(replay, log.documents, report)
    return report


def released(manifest: dict[str, Any] | None = None, **battle: Any) -> Log:
    log = Log()
    log.dataset()
    log.release(log.attempt(TEXT, **({"live": BASE} | battle)), TEXT, **(manifest or {}))
    return log


def test_releases_are_listed_with_their_lines_and_their_attempts() -> None:
    """Two in a line, and a failed attempt between them, which stays listed."""
    log = released()
    again = registration(2, OTHER, live_release=CANDIDATE, last_failed=0)
    log.attempt(again, candidate=OTHER, live=CANDIDATE)
    third = document_hash(b"third")
    text = registration(3, third, live_release=CANDIDATE, last_failed=2)
    number = log.attempt(text, candidate=third, live=CANDIDATE)
    first_root = log.replay().committed[2].root.hex()
    log.release(number, text, 2, adapter=third, parent=first_root)
    report = audited(log)
    assert report.problems == []
    assert [(old.number, old.kind, old.line) for old in report.commitments] == [
        (1, "dataset", []), (2, "release", []), (3, "release", [2]),
    ]  # fmt: skip
    assert [(each.attempt, each.release, each.final) for each in report.attempts] == [
        (1, 2, True), (2, None, True), (3, 3, True),
    ]  # fmt: skip
    first = report.attempts[0]
    assert (first.battles, first.voters, first.for_candidate, first.for_live, first.ties) == (2, 3, 4, 0, 2)
    assert report.releases_checked


def test_without_the_texts_the_lines_alone_are_told() -> None:
    """A note says what was not checked, and how it can be."""
    log, report = released(), released().report()
    check_releases(log.replay(), None, report)
    assert report.ok
    assert not report.releases_checked
    assert "--releases" in report.notes[0]
    assert len(report.commitments) == 2


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"adapter": OTHER}, "registered was"),
        ({"dataset": OTHER}, "names commitment 1 as its data set: it is not"),
        ({"dataset_number": 2}, "names commitment 2 as its data set: it is not"),
        ({"registration": OTHER}, "Release 2 has no registration: no battle round was opened with"),
        ({"round_number": 7}, "names round 7; its registration opened round 1"),
        ({"round_key": OTHER}, "its registration opened round 1"),
        ({"base_model": "other@1"}, "is of other@1; registered was tiny@1"),
        ({"parent": OTHER}, "its manifest names another parent"),
    ],
)
def test_a_manifest_whose_claims_the_ledger_denies_is_found(claims: dict[str, Any], words: str) -> None:
    """Each field once; the twin is the release above, in which all of them agree."""
    problems = audited(released(claims)).problems
    assert any(words in problem for problem in problems), problems


def test_a_release_without_manifest_or_description_is_found() -> None:
    """A hash that nobody can show the text of proves nothing."""
    log = released()
    root = log.replay().committed[2].root.hex()
    log.documents.pop(document_hash(b"a release"))
    assert any("Nobody shows the description of release 2" in problem for problem in audited(log).problems)
    log.documents.pop(root)
    assert any("Nobody shows the manifest of release 2" in problem for problem in audited(log).problems)
    log = released()
    log.commit(2, bytes.fromhex(log.keep(b'{"format":"flock release 1"}')), 0, bytes(32))
    assert any("manifest of release 3 cannot be read" in problem for problem in audited(log).problems)


def test_a_release_of_an_adapter_that_did_not_fight_is_found() -> None:
    """Registered was one, and another fought: neither release nor round pass."""
    problems = audited(released(candidate=OTHER)).problems
    assert any("is of an adapter that no battle was revealed with" in problem for problem in problems)
    assert any(f"was fought by {OTHER[:8]}" in problem for problem in problems)


def test_a_registration_that_came_after_the_votes_is_found() -> None:
    """The votes were cast in a round that was opened with something else; the registration only opened a later one."""
    log = Log()
    log.dataset()
    early = log.open(b'{"format":"nothing of this kind"}')
    log.battles(early, live=BASE)
    log.end(early, live=BASE)
    log.open(TEXT)
    log.release(early, TEXT)
    problems = audited(log).problems
    assert any("Round 1 holds battles, and was opened with no registration" in problem for problem in problems)
    assert any("names round 1; its registration opened round 2" in problem for problem in problems)


def test_a_release_before_its_round_was_final_is_found() -> None:
    """Its votes were not counted yet."""
    log = Log()
    log.dataset()
    number = log.open(TEXT)
    log.battles(number, live=BASE)
    log.release(number, TEXT)
    log.end(number, live=BASE)
    assert any("made before its battle round was final" in problem for problem in audited(log).problems)


def test_one_registration_makes_one_release() -> None:
    """A second release of the same battle is another model that won nothing."""
    log = released()
    log.release(1, TEXT, recipe={"seed": 2})
    assert any("name the same registration" in problem for problem in audited(log).problems)


def test_a_release_that_was_not_compared_with_the_one_it_continues_is_found() -> None:
    """It fought the base model, and not the release in use."""
    log = released()
    text = first_registration(attempt=2, last_failed=0, candidate=OTHER)
    number = log.attempt(text, candidate=OTHER, live=BASE)
    root = log.replay().committed[2].root.hex()
    log.release(number, text, 2, adapter=OTHER, parent=root)
    assert any("compared with another model than the release that it continues" in p for p in audited(log).problems)
