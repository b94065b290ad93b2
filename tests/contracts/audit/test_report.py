"""The report of an audit as plain values."""

from __future__ import annotations

import json

from contracts.audit.report import AuditReport, RoundAudit, tally_words
from contracts.ledger.client import Tally


def test_a_report_is_plain_json_and_says_whether_all_is_well() -> None:
    """A contradiction makes it not well; a note does not."""
    report = AuditReport(
        chain_id=1, address="0x", since=0, block=9, digest="0x", batches=1, votes=2, ballots=2, voters=1,
        rounds=[RoundAudit(1, 0, 1, 0, [1025], 1, 0, None, None)], notes=["The node keeps no history."],
    )  # fmt: skip
    told = json.loads(json.dumps(report.to_json()))
    assert (told["ok"], told["rounds"][0]["videos"], told["problems"]) == (True, [1025], [])
    report.problems.append("The log holds 1 rounds, the contract 2.")
    assert report.to_json()["ok"] is False


def test_a_tally_is_told_in_words() -> None:
    """Ups first."""
    assert tally_words(Tally(3, 1)) == "3 up and 1 down"
