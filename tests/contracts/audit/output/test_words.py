"""The report in words: what stands in a result message stands here as well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.audit.output.words import moment, report_text
from contracts.audit.report import AttemptAudit, AuditReport, BattleAudit, CommitmentAudit, RoundAudit, VideoAudit

ROOT = "ab" * 32


def report(**other: object) -> AuditReport:
    made = AuditReport(
        5, "0xL", 1, 9, "0xD", 1, 2, 2, 3, code="0xC", creation_tx="0xT", block_hash="0xB", block_time=60
    )
    return replace(made, **other)  # type: ignore[arg-type]  # any field


def test_a_round_can_be_laid_beside_its_result() -> None:
    """Number, times, task, winner, voters, tallies and content hashes; chain, ledger, code, block and digest."""
    text = report_text(
        report(
            rounds=[RoundAudit(1, 0, 3600, 60, [1025, 1026], 2, 1, 1025, "0xF", "77" * 32)],
            videos=[VideoAudit(1025, 1, 2, 1, "cc" * 32, "play", []), VideoAudit(1026, 1, 0, 0, "dd" * 32, "play", [])],
            battles=[BattleAudit(1027, 1, 3, 1, 0, 1, None, None, [])],
        )
    )
    for line in (
        "✓ 2 votes in 1 batches, recomputed from the chain. Everything agrees.",
        "  chain 5, ledger 0xL",
        "  code 0xC, made by transaction 0xT",
        "  log from block 1 to block 9 (1970-01-01 00:01:00 UTC, 0xB)",
        "  digest 0xD",
        "Round 1: opens 1970-01-01 00:00:00 UTC, closes 1970-01-01 01:00:00 UTC; winner 1025",
        "  task " + "77" * 32,
        "  voters: 2 by relayer, 1 by wallet",
        "  video 1025: 2 up, 1 down, the winner",
        "    content " + "cc" * 32,
        "  video 1026: 0 up, 0 down",
        "  battle 1027: 3 for A, 1 for B, 0 ties; A won",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("findings", "mark"),
    [({"problems": ["It is wrong."]}, "✗"), ({"doubts": ["Nobody knows."]}, "?"), ({"notes": ["By the way."]}, "✓")],
)
def test_the_verdict_stands_first(findings: dict[str, list[str]], mark: str) -> None:
    """Contradictions and doubts follow at once; a note changes nothing."""
    lines = report_text(report(**findings)).splitlines()
    assert lines[0][0] == mark
    assert (lines[1][2] == "-") is (mark != "✓")


def test_commitments_and_attempts_are_listed() -> None:
    """A line each, with its parents and the evidence by the registered rule, where it was applied."""
    attempt = AttemptAudit(4, ROOT, 2, ROOT, ROOT, 100, 40, 60, 30, 10, True, None)
    lines = report_text(
        report(
            commitments=[
                CommitmentAudit(1, "dataset", ROOT, ROOT, [], "0x"),
                CommitmentAudit(3, "release", ROOT, ROOT, [2], "0x"),
            ],
            attempts=[
                attempt,
                replace(attempt, release=3, counted_voters=38, evidence_milli=61_250, evidence_needed=1_200),
            ],
        )
    ).splitlines()
    assert lines[-4:] == [
        "  data set 1 (abababab…)",
        "  release 3 (abababab…) ← 2",
        "  attempt 2 (round 4): 60 for the candidate, 30 for the model in use, 10 ties, of 40 voters; no release",
        "  attempt 2 (round 4): 60 for the candidate, 30 for the model in use, 10 ties, of 40 voters; release 3; "
        "evidence 61.2 of 1,200",
    ]


def test_a_time_that_is_none_is_told_as_a_number() -> None:
    """A log may hold any."""
    assert moment(2**200) == f"second {2**200}"
