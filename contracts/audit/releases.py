"""The releases on a ledger, each followed back to its registration, its battles, its data set and its parent.

A release is a hash on the ledger. Its manifest is a text that anybody may hand on; whoever has it can check all that it
claims. Without the texts only the lines of parents can be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from contracts.audit.attempts import DATASET, RELEASE, Attempt, check_attempts, read_attempts
from contracts.audit.replay import Replay
from contracts.audit.replayed import ReplayedCommitment
from contracts.audit.report import AttemptAudit, AuditReport, CommitmentAudit
from contracts.audit.rules import Gate, check_rule, judge_attempt, notes_on
from contracts.manifests import ManifestError, ReleaseManifest

KINDS = {DATASET: "dataset", RELEASE: "release"}


def check_releases(
    replay: Replay, documents: Mapping[str, bytes] | None, report: AuditReport, gate: Gate | None = None
) -> None:
    """Add the commitments, and with texts the attempts, to the report, and a sentence for each contradiction.

    With the release gate, the registered rule is applied to the votes of each attempt.
    """
    report.commitments += [_commitment_audit(replay, old) for old in replay.committed.values()]
    releases = [old for old in replay.committed.values() if old.kind == RELEASE]
    if documents is None:
        if releases or replay.battles:
            report.notes.append(
                f"What {len(releases)} releases and {len(replay.battles)} battles rest upon was not checked: name a "
                "folder with their manifests and registrations by --releases."
            )
        return
    report.releases_checked = True
    attempts = read_attempts(replay, documents, report.problems)
    manifests: dict[int, ReleaseManifest] = {}
    by_registration: dict[str, ReplayedCommitment] = {}
    for old in releases:
        manifest = _manifest(old, documents, report.problems)
        if manifest is None:
            continue
        manifests[old.number] = manifest
        if manifest.registration in by_registration:
            report.problems.append(
                f"Releases {by_registration[manifest.registration].number} and {old.number} name the same registration."
            )
        by_registration.setdefault(manifest.registration, old)
    for number, manifest in manifests.items():
        report.problems += _check_release(replay, replay.committed[number], manifest, manifests, attempts)
        report.problems += _check_description(replay.committed[number], documents)
    report.problems += check_attempts(replay, documents, attempts.values(), by_registration, report.notes)
    for registration, attempt in attempts.items():
        release = by_registration.get(registration)
        if gate is None:
            report.attempts.append(attempt.audit(None if release is None else release.number))
        else:
            report.attempts.append(_apply_rule(replay, documents, attempt, release, gate, report))


def _apply_rule(
    replay: Replay,
    documents: Mapping[str, bytes],
    attempt: Attempt,
    release: ReplayedCommitment | None,
    gate: Gate,
    report: AuditReport,
) -> AttemptAudit:
    """Return the attempt with the verdict of its rule; a release that does not pass it is a problem."""
    about = attempt.audit(None if release is None else release.number)
    judged, obstacle = judge_attempt(replay, attempt, documents, gate, release)
    if release is not None and obstacle is not None:
        report.problems.append(f"The rule of release {release.number} cannot be applied: {obstacle}")
    if judged is None:
        return about
    if release is not None:
        report.problems += check_rule(release.number, attempt, judged)
        report.notes += notes_on(release.number, attempt, judged)
    return replace(
        about,
        counted_voters=judged.voters,
        evidence_milli=judged.evidence_milli,
        evidence_needed=judged.evidence_needed,
    )


def _commitment_audit(replay: Replay, old: ReplayedCommitment) -> CommitmentAudit:
    line, number = [], old.parent
    while number in replay.committed and number not in line:
        line.append(number)
        number = replay.committed[number].parent
    kind = KINDS.get(old.kind, str(old.kind))
    return CommitmentAudit(old.number, kind, old.root.hex(), old.meta.hex(), line, old.tx)


def _manifest(old: ReplayedCommitment, documents: Mapping[str, bytes], problems: list[str]) -> ReleaseManifest | None:
    content = documents.get(old.root.hex())
    if content is None:
        problems.append(f"Nobody shows the manifest of release {old.number} ({old.root.hex()[:8]}…).")
        return None
    try:
        return ReleaseManifest.from_bytes(content)
    except ManifestError as error:
        problems.append(f"The manifest of release {old.number} cannot be read: {error}")
        return None


def _check_description(old: ReplayedCommitment, documents: Mapping[str, bytes]) -> Iterator[str]:
    """Yield a sentence where nobody shows the text of a release's description."""
    content = documents.get(old.meta.hex())
    if content is None:
        yield f"Nobody shows the description of release {old.number} ({old.meta.hex()[:8]}…)."


def _check_release(
    replay: Replay,
    old: ReplayedCommitment,
    manifest: ReleaseManifest,
    manifests: Mapping[int, ReleaseManifest],
    attempts: Mapping[str, Attempt],
) -> Iterator[str]:
    """Yield a sentence for each claim of a release's manifest that the ledger does not bear out."""
    name = f"Release {old.number}"
    yield from _check_parent(name, old, manifest, manifests)
    yield from _check_dataset(replay, name, manifest)
    attempt = attempts.get(manifest.registration)
    if attempt is None:
        yield f"{name} has no registration: no battle round was opened with {manifest.registration[:8]}…."
        return
    about, registration = attempt.round, attempt.registration
    if (about.key.hex(), attempt.number) != (manifest.round_key, manifest.round_number):
        yield f"{name} names round {manifest.round_number}; its registration opened round {attempt.number}."
    if registration.candidate != manifest.adapter:
        yield f"{name} is of adapter {manifest.adapter[:8]}…; registered was {registration.candidate[:8]}…."
    if registration.dataset != manifest.dataset:
        yield f"{name} was tuned on another data set than its registration names."
    if registration.base_model != manifest.base_model:
        yield f"{name} is of {manifest.base_model}; registered was {registration.base_model}."
    parent = manifests.get(old.parent)
    if old.parent in manifests or not old.parent:
        in_use = None if parent is None else parent.adapter
        if registration.live != in_use:
            yield f"{name} was compared with another model than the release that it continues."
    if about.finalized_at is None or about.finalized_at > old.at:
        yield f"{name} was made before its battle round was final."
    fought = [battle.models for battle in attempt.battles.values() if battle.models is not None]
    if not any(bytes.fromhex(manifest.adapter) in models for models in fought):
        yield f"{name} is of an adapter that no battle was revealed with."


def _check_parent(
    name: str, old: ReplayedCommitment, manifest: ReleaseManifest, manifests: Mapping[int, ReleaseManifest]
) -> Iterator[str]:
    parent = manifests.get(old.parent)
    claimed = manifest.parent
    if (claimed is None) != (old.parent == 0) or (parent is not None and claimed != parent.root):
        yield f"{name} continues commitment {old.parent} on the ledger; its manifest names another parent."


def _check_dataset(replay: Replay, name: str, manifest: ReleaseManifest) -> Iterator[str]:
    data = replay.committed.get(manifest.dataset_number)
    if data is None or data.kind != DATASET or data.root.hex() != manifest.dataset:
        yield f"{name} names commitment {manifest.dataset_number} as its data set: it is not."
