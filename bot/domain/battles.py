"""A battle round: a candidate against the live model, in pairs of videos whose sides are hidden until one has chosen.

Which side is which, and where catch pairs lie, follows from a secret salt that is committed before the first vote.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from bot.domain.rounds import Round
from generation.feedback.evidence.ballots import Outcome
from generation.feedback.registration import Eligibility, Rule
from migrations.states.battles import BattleChoice, PairState

SALT_BYTES = 32
PAIRS_A_PROMPT = 50  # of one prompt, each with its own seed, at most: more would judge seeds, and no prompts


class VerdictState(StrEnum):
    """The result of a battle round; the gate's words."""

    RELEASED = "released"  # the evidence suffices, and nothing forbids the release
    REFUSED = "refused"  # the live model is better, or something forbids the release
    UNDECIDED = "undecided"  # neither; never "no better"


@dataclass(frozen=True)
class CountedVote:
    """A final vote as the gate counts it. `voter` is a pseudonym, `pair` the pair's name in the registration."""

    voter: str
    pair: str
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict, with the numbers that are posted with it; `reasons` are sentences."""

    state: VerdictState
    reasons: tuple[str, ...]
    voters: int
    votes: int
    held_out: int
    waiting: int  # members whose ballot is not full
    evidence_milli: int  # thousandths, after the removal of the k voters who helped most
    evidence_needed: int
    win_rate_permille: int
    interval_permille: tuple[int, int]
    equal_motion_permille: int | None
    survives: int  # removals of any so many voters
    survives_needed: int  # k
    needs_about: int | None  # voters that would decide if all vote as those so far
    min_voters: int

    @property
    def decided(self) -> bool:
        """True once later votes do not change the verdict."""
        return self.state != VerdictState.UNDECIDED

    def to_json(self) -> dict[str, object]:
        """Return plain JSON types."""
        return {**asdict(self), "reasons": list(self.reasons), "interval_permille": list(self.interval_permille)}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Return the verdict that `to_json` wrote."""
        values: dict[str, Any] = {field.name: data[field.name] for field in fields(cls)}
        low, high = values["interval_permille"]
        words = {"state": VerdictState(values["state"]), "reasons": tuple(values["reasons"])}
        return cls(**{**values, **words, "interval_permille": (low, high)})


@dataclass(frozen=True)
class BallotSize:
    """The size of a ballot: its battles, the catch pairs among them, and how many battles are enough at the close."""

    battles: int = 5
    catches: int = 1
    at_close: int = 2
    catch_one_in: int = 12  # of the pairs after a full ballot

    @property
    def pairs(self) -> int:
        return self.battles + self.catches

    @classmethod
    def of_rule(cls, rule: Rule) -> Self:
        """Return the ballot that a registered rule asks for."""
        return cls(rule.ballot_battles, rule.catch_answers, rule.ballot_at_close, rule.catch_one_in)


@dataclass(frozen=True)
class Contender:
    """One of the two models: the base model that workers have, and the hash of the adapter that is put into it."""

    model_id: str
    adapter: str | None = None  # None: the base model itself


@dataclass(frozen=True)
class PairPlan:
    """A pair to be made: one prompt and one seed for both videos. `decoy` makes a catch pair of it."""

    number: int
    prompt: str
    seed: int
    decoy: str | None = None

    @property
    def name(self) -> str:
        """The pair's name in the registration, and what the salt is drawn with."""
        return str(self.number)


@dataclass(frozen=True)
class BattlePlan:
    """A battle round before its registration."""

    candidate_id: int  # in the table of candidates
    candidate: Contender
    live: Contender
    pairs: tuple[PairPlan, ...]
    size: BallotSize
    eligibility: Eligibility
    opens_ms: int
    closes_ms: int

    def __post_init__(self) -> None:
        if self.candidate.adapter is None:
            raise ValueError("A candidate has an adapter.")
        if self.candidate == self.live:
            raise ValueError("The candidate is the live model itself.")


def fewest_prompts(pairs: int) -> int:
    """Return how many distinct prompts so many pairs need: two at least, since a catch pair shows another one."""
    return max(2, -(-pairs // PAIRS_A_PROMPT))


def plan_pairs(prompts: Sequence[str], battles: int, catches: int, seed: str) -> tuple[PairPlan, ...]:
    """Return so many pairs of the prompts. A prompt comes again, with another seed, where there are few prompts.

    A catch pair shows the prompt on one side and another prompt on the other. `seed` decides where the catch pairs lie:
    whoever sees a pair's number, but not the seed, cannot tell one. Raises ValueError for fewer than two prompts, or no
    battle.
    """
    distinct = list(dict.fromkeys(prompts))
    if len(distinct) < 2 or battles < 1:
        raise ValueError("A battle round needs two prompts and a pair.")
    places = sorted(range(battles + catches), key=lambda index: _digest(f"{seed}:place:{index}"))[:catches]
    pairs = []
    for index in range(battles + catches):
        decoy = distinct[(index + 1) % len(distinct)] if index in places else None
        seed_of_pair = int.from_bytes(_digest(f"{seed}:{index}")[:4]) >> 1
        pairs.append(PairPlan(index + 1, distinct[index % len(distinct)], seed_of_pair, decoy))
    return tuple(pairs)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def video_id(round_key: str, pair: str, is_first: bool) -> str:
    """Return the digits that name a video of a pair. They say nothing of its side to who knows no salt."""
    digest = hashlib.sha256(f"{round_key}:battle:{pair}:{is_first}".encode()).digest()
    return str(int.from_bytes(digest[:8]) >> 1)


@dataclass(frozen=True)
class ShownPair:
    """A pair that may be shown, and to how many members it was."""

    id: int
    name: str
    is_catch: bool
    shown: int


def choose_pair(
    salt: bytes, voter: str, size: BallotSize, pairs: Sequence[ShownPair], seen: Collection[int]
) -> int | None:
    """Return the next pair for a member: the one of the turn's kind that the fewest have seen; None after the last.

    Ties are broken by the salt, differently for each member, so that nobody can foresee what others are shown.
    """
    unseen = [pair for pair in pairs if pair.id not in seen]
    due = is_catch_turn(salt, voter, len(seen), size)
    of_kind = [pair for pair in unseen if pair.is_catch == due] or unseen
    if not of_kind:
        return None
    return min(of_kind, key=lambda pair: (pair.shown, _draw(salt, "deal", voter, pair.name))).id


def is_catch_turn(salt: bytes, voter: str, turn: int, size: BallotSize) -> bool:
    """Return True where a member's turn, from 0, is one for a catch pair.

    Those of the ballot lie among the first turns, so that who stops early has met them too; only the salt knows where.
    """
    early = size.at_close + size.catches
    if turn < size.pairs:
        places = sorted(range(early), key=lambda place: _draw(salt, "catch", voter, str(place)))
        return turn in places[: size.catches]
    block, place = divmod(turn - size.pairs, size.catch_one_in)
    return place == _draw(salt, "late", voter, str(block))[0] % size.catch_one_in


def outcome_of(choice: BattleChoice, first_is_a: bool, is_catch: bool) -> Outcome:
    """Return what a final choice means, now that the sides are known. Only the right side passes a catch pair."""
    is_first = choice == (BattleChoice.A if first_is_a else BattleChoice.B)
    if is_catch:
        return Outcome.CATCH_PASSED if is_first else Outcome.CATCH_FAILED
    if choice == BattleChoice.TIE:
        return Outcome.TIE
    if choice == BattleChoice.BOTH_BAD:
        return Outcome.BOTH_BAD
    return Outcome.CANDIDATE if is_first else Outcome.LIVE


def _draw(salt: bytes, *words: str) -> bytes:
    return hmac.new(salt, "\0".join(words).encode(), hashlib.sha256).digest()


@dataclass(frozen=True)
class BattlePair:
    """A row of `battle_pairs`."""

    id: int
    round_id: int
    number: int
    prompt: str
    seed: int
    decoy: str | None
    first_is_a: bool
    state: PairState
    reason: str | None

    @classmethod
    def from_row(cls, row: object) -> Self:
        """Return the pair in a row that has all columns of `battle_pairs`."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        return cls(**{**values, "state": PairState(values["state"])})

    @property
    def is_catch(self) -> bool:
        return self.decoy is not None


@dataclass(frozen=True)
class BattleVideo:
    """A row of `battle_videos`: one side of a pair."""

    id: str
    pair_id: int
    is_first: bool
    video_path: str | None
    sha256: str | None
    size_bytes: int | None
    shown_sha256: str | None

    @classmethod
    def from_row(cls, row: object) -> Self:
        """Return the video in a row that has all columns of `battle_videos`."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Battle:
    """A battle round: its row of `rounds`, and what only battles have."""

    round: Round
    candidate: Contender
    live: Contender
    registration: bytes
    salt: bytes
    size: BallotSize
    eligibility: Eligibility
    interim: Verdict | None = None  # on the votes so far
    verdict: Verdict | None = None  # the final one
    handed_on: bool = False

    @property
    def registration_hash(self) -> str:
        """The SHA-256 of the registration, which is the round's meta on the ledger."""
        return hashlib.sha256(self.registration).hexdigest()


@dataclass(frozen=True)
class PairCount:
    """The number of pairs of a battle round in each state. Catch pairs count like others: nobody can tell them."""

    waiting: int = 0
    ready: int = 0
    left_out: int = 0
    removed: int = 0

    @property
    def all(self) -> int:
        return self.waiting + self.ready + self.left_out + self.removed


@dataclass(frozen=True)
class PairView:
    """A pair as one member sees it. `candidate_is_a` is None until their own choice is final."""

    pair_id: int
    round_id: int
    round_number: int
    closes_at_ms: int
    prompt: str
    choice: BattleChoice | None
    is_final: bool
    answered: int  # of the member's pairs, this one included once it is final
    of: int  # pairs of a full ballot
    counts: bool = True  # the member's votes do, in this round's verdict
    is_catch: bool | None = None  # None until the choice is final, as the side
    candidate_is_a: bool | None = None
    interim: Verdict | None = None  # None until the member's ballot is full

    @property
    def is_full(self) -> bool:
        return self.answered >= self.of
