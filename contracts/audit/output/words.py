"""The report of an audit in words: all that a person needs to lay it beside a result message, or another audit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from contracts.audit.report import AttemptAudit, AuditReport, BattleAudit, RoundAudit, Verdict, VideoAudit

MARKS = {Verdict.AGREES: "✓", Verdict.DIFFERS: "✗", Verdict.CANNOT_TELL: "?"}
ENDS = {
    Verdict.AGREES: "Everything agrees.",
    Verdict.DIFFERS: "Something differs:",
    Verdict.CANNOT_TELL: "Nothing differs, but whether it can be believed cannot be told:",
}
OUTCOMES = {0: "nobody voted", 1: "A won", 2: "B won", 3: "a tie", None: "not decided yet"}


def report_text(report: AuditReport) -> str:
    """Return the report as lines of text."""
    counted = f"{report.votes} votes in {report.batches} batches, recomputed from the chain."
    lines = [f"{MARKS[report.verdict]} {counted} {ENDS[report.verdict]}"]
    lines += [f"  - {_line(sentence)}" for sentence in (*report.problems, *report.doubts)]
    lines += [
        f"  chain {report.chain_id}, ledger {report.address}",
        f"  code {report.code}, made by transaction {report.creation_tx or 'that nobody knows'}",
        f"  log from block {report.since} to block {report.block} ({moment(report.block_time)}, {report.block_hash})",
        f"  digest {report.digest}",
        f"  digest of signed ballots {report.signed_digest}",
        f"  owner {report.owner}, guardian {report.guardian}, relayers {', '.join(report.relayers) or 'none'}",
    ]
    for each in report.rounds:
        lines += _round(report, each)
    for old in report.commitments:
        line = "".join(f" ← {number}" for number in old.line)
        lines.append(f"  {old.kind.replace('dataset', 'data set')} {old.number} ({old.root[:8]}…){line}")
    lines += [f"  {_attempt(attempt)}" for attempt in report.attempts]
    lines += [f"  {_line(note)}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _line(sentence: str) -> str:
    """Return a sentence on one line, whatever a node's words in it would begin another with."""
    return " ".join(sentence.splitlines())


def moment(seconds: int) -> str:
    """Return a time in words; a log may hold any number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"


def _round(report: AuditReport, about: RoundAudit) -> Iterator[str]:
    result = "not final" if about.winner is None else f"winner {about.winner or 'nobody'}"
    yield f"Round {about.number}: opens {moment(about.opens)}, closes {moment(about.closes)}; {result}"
    yield f"  task {about.task_hash}"
    yield f"  voters: {about.by_relayer} by relayer, {about.by_wallet} by wallet"
    for video in report.videos:
        if video.round == about.number:
            yield f"  video {video.number}: {video.up} up, {video.down} down{_winner(video, about)}"
            yield f"    content {video.content_hash}"
    for battle in report.battles:
        if battle.round == about.number:
            yield f"  {_battle(battle)}"


def _winner(video: VideoAudit, about: RoundAudit) -> str:
    return ", the winner" if video.number == about.winner else ""


def _battle(battle: BattleAudit) -> str:
    votes = f"{battle.a} for A, {battle.b} for B, {battle.ties} ties"
    return f"battle {battle.number}: {votes}; {OUTCOMES.get(battle.outcome, 'an unknown outcome')}"


def _attempt(attempt: AttemptAudit) -> str:
    end = f"release {attempt.release}" if attempt.release else "no release" if attempt.final else "under way"
    held_out = f" ({attempt.held_out} of them failed a catch pair)" if attempt.held_out else ""
    return (
        f"attempt {attempt.attempt} (round {attempt.round}): {attempt.for_candidate} for the candidate, "
        f"{attempt.for_live} for the model in use, {attempt.ties} ties, of {attempt.voters} voters{held_out}; "
        f"{end}{_evidence(attempt)}"
    )


def _evidence(attempt: AttemptAudit) -> str:
    """Return the evidence by the registered rule; nothing where the rule was not applied."""
    if attempt.evidence_milli is None or attempt.evidence_needed is None:
        return ""
    return f"; evidence {attempt.evidence_milli / 1000:,.1f} of {attempt.evidence_needed:,}"
