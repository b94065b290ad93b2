"""The report of an audit, as plain values: rounds, videos and battles by the log, each contradiction in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from contracts.ledger.client import Tally


class Verdict(StrEnum):
    """The outcome of an audit."""

    AGREES = "agrees"  # everything that was compared
    DIFFERS = "differs"  # something did
    CANNOT_TELL = "cannot tell"  # nothing differs, but the node could not show what the rest depends on


@dataclass(frozen=True)
class VideoAudit:
    """A video by the log: its ledger number, votes, the transactions that hold it, and the database's id if known."""

    number: int
    round: int
    up: int
    down: int
    content_hash: str
    playback_id: str
    tx: list[str]
    video_id: str | None = None
    prompt_hash: str = ""
    model_hash: str = ""


@dataclass(frozen=True)
class BattleAudit:
    """A battle by the log; `outcome` is 1 A, 2 B, 3 a tie, 0 without votes, None while the round is not final.

    The models' hashes are known once they were revealed.
    """

    number: int
    round: int
    a: int
    b: int
    ties: int
    outcome: int | None
    model_a: str | None
    model_b: str | None
    tx: list[str]


@dataclass(frozen=True)
class RoundAudit:
    """A round by the log; `winner` is a ledger number, 0 for nobody, None while it is not final.

    `by_relayer` and `by_wallet` count the voters who have a seat, by who may write it. `task_hash` is what the round
    was opened with: the SHA-256 of its task, or of its registration.
    """

    number: int
    opens: int
    closes: int
    grace: int
    videos: list[int]
    by_relayer: int
    by_wallet: int
    winner: int | None
    finalized_tx: str | None
    task_hash: str = ""


@dataclass(frozen=True)
class CommitmentAudit:
    """A data set or release by the log; `line` has the numbers of its ancestors, the parent first."""

    number: int
    kind: str  # dataset | release
    root: str
    meta: str
    line: list[int]
    tx: str


@dataclass(frozen=True)
class AttemptAudit:
    """A battle round by the log and its registration: an attempt at a release, which may have failed.

    The ballots are those of battles that were revealed, catch pairs not among them. `release` is the commitment that it
    ended in; None for an attempt that failed, or is not over. `held_out` voters answered a catch pair wrong.
    """

    round: int
    community: str
    attempt: int
    registration: str
    candidate: str
    battles: int
    voters: int
    for_candidate: int
    for_live: int
    ties: int
    final: bool
    release: int | None
    held_out: int = 0
    counted_voters: int | None = None  # by the registered rule, as are those below; None where it was not applied
    evidence_milli: int | None = None
    evidence_needed: int | None = None


@dataclass
class AuditReport:
    """The findings of an audit. `problems` are sentences; without any, `ok` is true.

    `votes` counts the choices in all batches and signed ballots; `ballots` those that stand. `pending` votes are not on
    the ledger yet and `refused` ones never will be: neither is a contradiction. With one round audited, only its videos
    are listed. `linked` voters vote by wallet; of the `signed` ballots, `smart` have signatures that only the chain can
    check. `unclaimed` of the choices were written by the relayer for voters who had linked a wallet, into seats from
    before that nobody had claimed. `commitments` are the data sets and releases. `attempts` are listed where the texts
    of their registrations were at hand; releases are then checked too. The log was read from block `since` to `block`.
    `notes` are sentences that are no contradictions. `doubts` say what the node could not show, and what cannot be told
    without it. `noticed_by` counts the problems of the ledger by the check that found them: log, signature, creation,
    transaction, block, storage.
    """

    chain_id: int
    address: str
    since: int
    block: int
    digest: str
    batches: int
    votes: int
    ballots: int
    voters: int
    linked: int = 0
    signed: int = 0
    smart: int = 0
    unclaimed: int = 0
    rounds: list[RoundAudit] = field(default_factory=list)
    videos: list[VideoAudit] = field(default_factory=list)
    battles: list[BattleAudit] = field(default_factory=list)
    commitments: list[CommitmentAudit] = field(default_factory=list)
    attempts: list[AttemptAudit] = field(default_factory=list)
    releases_checked: bool = False
    dataset_checked: str | None = None  # the root of the data set whose counts were compared
    pending: int = 0
    refused: int = 0
    database_checked: bool = False
    members_checked: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    noticed_by: dict[str, int] = field(default_factory=dict)
    code: str = ""  # Keccak-256 of the contract's code
    creation_tx: str | None = None
    block_hash: str = ""
    block_time: int = 0  # seconds since the epoch
    signed_digest: str = ""
    owner: str = ""
    guardian: str = ""
    relayers: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True without contradictions, where nothing of weight remains untold."""
        return self.verdict == Verdict.AGREES

    @property
    def verdict(self) -> Verdict:
        """The outcome of the audit."""
        return Verdict.DIFFERS if self.problems else Verdict.CANNOT_TELL if self.doubts else Verdict.AGREES

    def find(self, check: str, problems: Sequence[str]) -> None:
        """Add the problems that one of the checks found."""
        self.problems += problems
        if problems:
            self.noticed_by[check] = self.noticed_by.get(check, 0) + len(problems)

    def to_json(self) -> dict[str, object]:
        """Return the report as plain values for `json.dumps`."""
        return {"ok": self.ok, "verdict": self.verdict.value, **asdict(self)}


def tally_words(tally: Tally) -> str:
    """Return a video's votes in words, for a sentence."""
    return f"{tally.up} up and {tally.down} down"
