"""The registration of a battle round: everything that decides about a release, fixed before the first vote.

Its SHA-256 is the `meta` of the round on the ledger. Whoever has the file can hash it, find the hash on the chain
before the first vote, and judge the votes again by the rule in it. Numbers are whole (thousandths, millionths), so that
the file has the same bytes on every machine. Standard library alone: the bot reads it without a worker's packages.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.strict_json import ShapeError, read_dataclass

from .evidence.ballots import BallotRule
from .evidence.budget import BILLION, LIFE_PPB, attempt_alpha, wealth_for
from .evidence.wealth import fewest_voters, needed_removals

FORMAT = "flock-battle-registration/1"
MILLION = 1_000_000
_HASH = re.compile(r"[0-9a-f]{64}")


class RegistrationError(ValueError):
    """A registration that cannot be believed; str() says in a sentence what is wrong with it."""


@dataclass(frozen=True)
class Rule:
    """The rule of the gate. Names end in their unit: ppb, ppm and permille are 10^-9, 10^-6 and 10^-3."""

    alpha_ppb: int  # the chance of a false release that this attempt may spend, rounded down
    wealth: int  # the evidence at which a release is believed
    min_voters: int  # fewer counted voters never release
    life_ppb: int = LIFE_PPB  # the chance over all attempts of the community
    refusal_wealth: int = 20  # the evidence for the live model at which the candidate is refused
    bets_permille: tuple[int, ...] = (250, 500, 750, 950)
    removals_least: int = 2  # k: so many voters at least, or ...
    removals_ppm: int = 50_000  # ... this share of them, may be removed without undoing a verdict
    ballot_battles: int = 5  # a member's first battles, which are one bet together
    ballot_at_close: int = 2  # so many are enough once the round is closed
    catch_answers: int = 1  # catch pairs that must be answered before a ballot counts
    catch_failures: int = 1  # so many wrong answers hold a member out
    catch_one_in: int = 12  # of all pairs shown after the ballot
    min_pairs: int = 100
    max_votes: int = 100_000  # the round is closed after so many
    min_motion_ppm: int = 950_000  # of the live model's; below it the candidate is refused
    max_adherence_loss_ppm: int = 20_000
    min_diversity_ppm: int = 900_000  # of the live model's
    group_wealth: int = 20  # a group of one taste that prefers the live model with this evidence refuses the candidate
    group_share_ppm: int = 200_000  # smaller groups have no veto

    def removals(self, voters: int) -> int:
        """Return k: how many voters a verdict on so many voters must be able to lose."""
        return needed_removals(voters, self.removals_least, self.removals_ppm)

    @property
    def ballot(self) -> BallotRule:
        return BallotRule(self.ballot_battles, self.ballot_at_close, self.catch_answers, self.catch_failures)

    def check(self, attempt: int, last_failed: int) -> None:
        """Raise RegistrationError where the numbers contradict each other, the attempt or the error budget."""
        numbers = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if negative := [name for name, number in numbers.items() if isinstance(number, int) and number < 0]:
            raise RegistrationError(f"The rule's {negative[0]} is negative.")
        bets = self.bets_permille
        if not bets or list(bets) != sorted(set(bets)) or bets[0] < 1 or bets[-1] >= 1000:
            raise RegistrationError("The rule's bets must rise from at least 1 to at most 999 thousandths.")
        if not 1 <= self.ballot_at_close <= self.ballot_battles:
            raise RegistrationError("A ballot at the close has at least one battle and at most those of a full ballot.")
        if self.catch_failures < 1 or self.catch_one_in < 2:
            raise RegistrationError("A wrong answer must be possible, and fewer than all pairs catch pairs.")
        if self.removals_ppm >= MILLION // 2:
            raise RegistrationError("No verdict survives the removal of half of its voters.")
        if self.refusal_wealth < 2 or self.group_wealth < 2:
            raise RegistrationError("A refusal needs evidence: a wealth of at least 2.")
        if not 0 < self.life_ppb < BILLION:
            raise RegistrationError("The error budget is a chance between 0 and 1.")
        alpha = attempt_alpha(attempt, last_failed, self.life_ppb)
        if self.wealth < wealth_for(alpha) or self.alpha_ppb != alpha.numerator * BILLION // alpha.denominator:
            raise RegistrationError(f"Attempt {attempt} may spend {float(alpha):.3g} of the error budget, not more.")
        if self.min_voters < fewest_voters(bets, self.removals, self.wealth):
            raise RegistrationError("Fewer voters than the rule asks for could never release, even if all agreed.")


def rule_for(attempt: int, last_failed: int, like: Rule | None = None) -> Rule:
    """Return the rule of an attempt: its share of the error budget, the rest as in another rule or as usual."""
    base = like or Rule(alpha_ppb=0, wealth=0, min_voters=0)
    alpha = attempt_alpha(attempt, last_failed, base.life_ppb)
    wealth = wealth_for(alpha)
    return dataclasses.replace(
        base,
        alpha_ppb=alpha.numerator * BILLION // alpha.denominator,
        wealth=wealth,
        min_voters=fewest_voters(base.bets_permille, base.removals, wealth),
    )


@dataclass(frozen=True)
class Eligibility:
    """The members whose votes count, as of the registration: whoever joins or votes for its sake comes too late."""

    member_days: int
    votes_before: int

    def admits(self, days: float, votes: int) -> bool:
        """Return True for a member of so many days, with so many votes, both before the registration."""
        return days >= self.member_days and votes >= self.votes_before


@dataclass(frozen=True)
class Prompt:
    """A pair of videos to be made: one prompt and one seed for both models. `catch` pairs have a right answer."""

    pair: str
    prompt: str
    seed: int
    catch: bool = False


@dataclass(frozen=True)
class Registration:
    """A battle round before its first vote. Hashes are 64 hexadecimal digits; times are seconds since 1970, UTC."""

    community: str  # its key, a hash: no name
    attempt: int
    last_failed: int  # the latest attempt before it that did not end in a release; 0 for none
    base_model: str
    base_revision: str
    live_release: str | None  # None: the base model itself is live
    candidate: str  # hash of the adapter
    data_root: str  # root of the data set that it was tuned on
    prompts_root: str
    pairs: int  # battles, catch pairs not counted
    opens: int
    closes: int
    salt_commitment: str
    rule: Rule
    eligibility: Eligibility
    tastes: str | None = None  # hash of a file that gives each member a group; None: the ballots are halved
    format: str = FORMAT

    def canonical_bytes(self) -> bytes:
        """Return the canonical JSON: sorted names, no spaces, ASCII, a newline at the end."""
        return _canonical(dataclasses.asdict(self)) + b"\n"

    def hash(self) -> str:
        """Return the SHA-256 of the bytes, as `sha256sum` prints it."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()

    def check(self) -> None:
        """Raise RegistrationError where a field, or two of them together, cannot be right."""
        if self.format != FORMAT:
            raise RegistrationError(f"The registration has the format {self.format[:64]!r}, not {FORMAT!r}.")
        for name in ("community", "candidate", "data_root", "prompts_root", "salt_commitment"):
            _check_hash(name, getattr(self, name))
        for name in ("live_release", "tastes"):
            if getattr(self, name) is not None:
                _check_hash(name, getattr(self, name))
        if not self.base_model or not self.base_revision:
            raise RegistrationError("The registration names no base model, or no revision of it.")
        if self.attempt < 1 or not 0 <= self.last_failed < self.attempt:
            raise RegistrationError(f"Attempt {self.attempt} cannot follow a failed attempt {self.last_failed}.")
        if self.candidate == self.live_release:
            raise RegistrationError("The candidate is the live release itself.")
        if not 0 <= self.opens < self.closes:
            raise RegistrationError("The round must close after it opens.")
        if self.eligibility.member_days < 0 or self.eligibility.votes_before < 0:
            raise RegistrationError("Eligibility counts days and votes from 0.")
        if self.pairs < self.rule.min_pairs:
            raise RegistrationError(f"The round has {self.pairs} pairs; the rule asks for {self.rule.min_pairs}.")
        self.rule.check(self.attempt, self.last_failed)


def read_registration(data: bytes) -> Registration:
    """Return the registration in a file.

    Raises RegistrationError unless it can be believed and each byte is as `canonical_bytes` writes it.
    """
    try:
        value = json.loads(data)
        registration = read_dataclass(Registration, value)
    except ShapeError as error:
        raise RegistrationError(str(error)) from None
    except (ValueError, RecursionError):
        raise RegistrationError("The registration is no JSON.") from None
    registration.check()
    if registration.canonical_bytes() != data:
        raise RegistrationError("The registration is not in its canonical form, so its hash would not be the ledger's.")
    return registration


def prompts_root(prompts: Sequence[Prompt]) -> str:
    """Return the Merkle root (RFC 6962, SHA-256) of the prompts with their seeds, catch pairs included, in order."""
    if len({prompt.pair for prompt in prompts}) != len(prompts):
        raise RegistrationError("Two prompts have the same pair.")
    leaves = [hashlib.sha256(b"\0" + _canonical(dataclasses.asdict(prompt))).digest() for prompt in prompts]
    return _merkle_root(leaves).hex()


def _merkle_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)  # the largest power of two below their number
    return hashlib.sha256(b"\1" + _merkle_root(leaves[:middle]) + _merkle_root(leaves[middle:])).digest()


def commitment_of(salt: bytes) -> str:
    """Return what the registration says about the salt, which is shown only after the round.

    Raises RegistrationError for a salt that is too short.
    """
    if len(salt) < 16:
        raise RegistrationError("A salt of fewer than 16 bytes could be guessed.")
    return hashlib.sha256(b"flock battle salt\0" + salt).hexdigest()


def candidate_is_a(salt: bytes, pair: str) -> bool:
    """Return True where the candidate's video of a pair is shown as A: a coin that the salt has thrown."""
    return _draw(salt, "side", pair)[0] & 1 == 1


def pair_salt(salt: bytes, pair: str) -> bytes:
    """Return the salt of one pair (32 bytes), which may be shown without showing the sides of any other."""
    return _draw(salt, "pair", pair)


def deal(salt: bytes, voter: str, battles: Sequence[str], catches: Sequence[str], rule: Rule) -> list[str]:
    """Return the pairs for a member in the order in which they are shown.

    The catch pairs that a ballot needs lie among its first battles, at places that only the salt knows; later ones are
    one in `catch_one_in`. So nobody can tell a catch pair by its place, or vote without having answered any.
    """
    battles = sorted(battles, key=lambda pair: _draw(salt, "deal", voter, pair))
    catches = sorted(catches, key=lambda pair: _draw(salt, "deal", voter, pair))
    first = rule.catch_answers
    early = battles[: rule.ballot_at_close] + catches[:first]
    early.sort(key=lambda pair: _draw(salt, "place", voter, pair))
    late, rest = battles[rule.ballot_at_close :], catches[first:]
    dealt = early + late[: rule.ballot_battles - rule.ballot_at_close]
    late = late[rule.ballot_battles - rule.ballot_at_close :]
    while late:
        chunk, late = late[: rule.catch_one_in - 1], late[rule.catch_one_in - 1 :]
        if rest and len(chunk) == rule.catch_one_in - 1:
            chunk.append(rest.pop(0))
            chunk.sort(key=lambda pair: _draw(salt, "place", voter, pair))
        dealt += chunk
    return dealt


def _draw(salt: bytes, *words: str) -> bytes:
    return hmac.new(salt, "\0".join(words).encode(), hashlib.sha256).digest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _check_hash(name: str, text: str) -> None:
    if not _HASH.fullmatch(text):
        raise RegistrationError(f"The registration's {name} is no hash of 64 hexadecimal digits.")
