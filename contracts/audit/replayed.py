"""The state of a ledger as a replay of its log holds it: plain values, without a rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from contracts.ledger.client import BattleTally, Tally

Position = tuple[int, int]  # of an event: its block, and its place there


class Unproven(NamedTuple):
    """A signed ballot that no key of its wallet signed: right if the wallet is a smart account, else forged."""

    account: str
    block: int
    where: str


@dataclass
class ReplayedVideo:
    """A video by the log; ballots by voter index, 1 up and 2 down, withdrawn ones absent."""

    round: int
    key: bytes
    prompt_hash: bytes
    content_hash: bytes
    model_hash: bytes
    playback_id: str
    tx: str
    ballots: dict[int, int] = field(default_factory=dict)
    votes_txs: list[str] = field(default_factory=list)

    @property
    def tally(self) -> Tally:
        """The video's votes."""
        choices = list(self.ballots.values())
        return Tally(choices.count(1), choices.count(2))


@dataclass
class ReplayedBattle:
    """A battle by the log; ballots by voter index: 1 A, 2 B, 3 tie. Models and salt are None until revealed."""

    round: int
    key: bytes
    prompt_hash: bytes
    sides: bytes
    tx: str
    ballots: dict[int, int] = field(default_factory=dict)
    votes_txs: list[str] = field(default_factory=list)
    models: tuple[bytes, bytes] | None = None
    salt: bytes | None = None  # of the reveal
    outcome: int | None = None
    cast_at: dict[int, Position] = field(default_factory=dict)  # by voter: where the choice that stands was written

    @property
    def tally(self) -> BattleTally:
        """The battle's votes."""
        choices = list(self.ballots.values())
        return BattleTally(choices.count(1), choices.count(2), choices.count(3))


@dataclass
class ReplayedRound:
    """A round by the log; times in seconds; `winner` is None until it is final, 0 for nobody."""

    key: bytes
    opens: int
    closes: int
    grace: int
    meta: bytes
    opened_at: Position = (0, 0)
    items: list[int] = field(default_factory=list)  # videos and battles
    voters: dict[int, int] = field(default_factory=dict)  # who sits in which seat
    seated: set[int] = field(default_factory=set)  # the same voters
    seats: int = 0  # given by batches
    own_seats: int = 0  # given by signed ballots
    closed_early: bool = False
    winner: int | None = None
    finalized_tx: str | None = None
    finalized_at: Position | None = None

    @property
    def over(self) -> bool:
        """True once the round was closed or finalized."""
        return self.closed_early or self.winner is not None


@dataclass(frozen=True)
class ReplayedCommitment:
    """A commitment by the log: kind 1 is a data set, 2 a release; `parent` is a number, 0 for the first of a line."""

    number: int
    kind: int
    root: bytes
    parent: int
    meta: bytes
    at: Position
    tx: str
