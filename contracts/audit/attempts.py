"""The attempts at a release: each battle round with what it was registered for, and how its votes came out.

A hidden attempt is what makes many tries look like one. So every round with battles must have its registration, and the
numbers of a community's attempts must have no gap.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from contracts.audit.registrations import (
    RegisteredPrompt,
    Registration,
    RegistrationError,
    is_registration,
    prompts_of,
)
from contracts.audit.replay import Replay
from contracts.audit.replayed import ReplayedBattle, ReplayedCommitment, ReplayedRound
from contracts.audit.report import AttemptAudit
from contracts.audit.sides import check_sides, master_salt
from contracts.manifests import DECOY

DATASET, RELEASE = 1, 2  # the kinds of commitments


@dataclass(frozen=True)
class Attempt:
    """A round that was registered for a candidate."""

    number: int  # of the round
    round: ReplayedRound
    battles: Mapping[int, ReplayedBattle]
    registration: Registration

    def audit(self, release: int | None) -> AttemptAudit:
        """Return the attempt for the report; `release` is the number of the release that it ended in."""
        candidate, live, ties = self.tally
        voters = {voter for battle in self.battles.values() for voter in battle.ballots}
        return AttemptAudit(
            round=self.number,
            community=self.registration.community,
            attempt=self.registration.attempt,
            registration=self.round.meta.hex(),
            candidate=self.registration.candidate,
            battles=len(self.battles),
            voters=len(voters),
            for_candidate=candidate,
            for_live=live,
            ties=ties,
            final=self.round.winner is not None,
            release=release,
            held_out=len(self.held_out),
        )

    @property
    def tally(self) -> tuple[int, int, int]:
        """The ballots for the candidate, for the live model and for neither, in the battles that were revealed."""
        candidate = live = ties = 0
        for battle in self.battles.values():
            models = None if battle.models is None else [model.hex() for model in battle.models]
            if models is None or models[0] == models[1] or DECOY in models:
                continue
            a, b, even = battle.tally
            is_a = models[0] == self.registration.candidate
            candidate, live, ties = candidate + (a if is_a else b), live + (b if is_a else a), ties + even
        return candidate, live, ties

    @property
    def held_out(self) -> frozenset[int]:
        """The voters who answered a revealed catch pair wrong: anything but the side that shows the prompt."""
        wrong: set[int] = set()
        for battle in self.battles.values():
            models = None if battle.models is None else [model.hex() for model in battle.models]
            if models is not None and DECOY in models:
                right = 2 if models[0] == DECOY else 1
                wrong |= {voter for voter, choice in battle.ballots.items() if choice != right}
        return frozenset(wrong)


def read_attempts(replay: Replay, documents: Mapping[str, bytes], problems: list[str]) -> dict[str, Attempt]:
    """Return the attempts by the hash of their registration; add a sentence for each round that has none to show."""
    battles: defaultdict[int, dict[int, ReplayedBattle]] = defaultdict(dict)
    for number, battle in replay.battles.items():
        battles[battle.round][number] = battle
    attempts: dict[str, Attempt] = {}
    for number, about in replay.rounds.items():
        content = documents.get(about.meta.hex())
        if number not in battles:
            if content is not None and is_registration(content):  # abandoned, which is a failed attempt too
                attempts[about.meta.hex()] = Attempt(number, about, {}, Registration.from_bytes(content))
            continue
        if content is None:
            problems.append(
                f"Round {number} holds battles, and nobody shows its registration ({about.meta.hex()[:8]}…): an "
                "attempt may be hidden."
            )
            continue
        try:
            registration = Registration.from_bytes(content)
        except RegistrationError as error:
            problems.append(f"Round {number} holds battles, and was opened with no registration: {error}.")
            continue
        if about.meta.hex() in attempts:
            problems.append(f"Rounds {attempts[about.meta.hex()].number} and {number} have the same registration.")
        attempts[about.meta.hex()] = Attempt(number, about, battles[number], registration)
    return attempts


def check_attempts(
    replay: Replay,
    documents: Mapping[str, bytes],
    attempts: Iterable[Attempt],
    releases: Mapping[str, ReplayedCommitment],
    notes: list[str],
) -> Iterator[str]:
    """Yield a sentence for everything in which attempts contradict the log; `releases` by their registration's hash.

    Sentences that are no contradictions are added to the notes.
    """
    lines: defaultdict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        lines[attempt.registration.community].append(attempt)
        yield from _check_order(replay, attempt)
        yield from _check_models(attempt)
        yield from _check_prompts(documents, attempt, notes)
    for line in lines.values():
        yield from _check_line(line, releases)


def _check_order(replay: Replay, attempt: Attempt) -> Iterator[str]:
    """Yield sentences where the registration came after what it has to precede, or before its data set."""
    about, root = attempt.round, attempt.registration.dataset
    if replay.first_votes.get(attempt.number, about.opened_at) < about.opened_at:
        yield f"Round {attempt.number} was registered after its first vote."
    data = next((old for old in replay.committed.values() if old.kind == DATASET and old.root.hex() == root), None)
    if data is None:
        yield f"Round {attempt.number} was registered for a data set ({root[:8]}…) that was never committed to."
    elif data.at > about.opened_at:
        yield f"Round {attempt.number} was registered before its data set was committed to (commitment {data.number})."


def _check_models(attempt: Attempt) -> Iterator[str]:
    """Yield sentences for battles that were not revealed, or were between others than the registered models."""
    if attempt.round.winner is None:
        return
    hidden = [number for number, battle in attempt.battles.items() if battle.models is None]
    if hidden:
        yield f"Round {attempt.number} is final, and {len(hidden)} of its battles are not revealed ({hidden[0]} first)."
    for number, battle in attempt.battles.items():
        strangers = {model.hex() for model in battle.models or ()} - attempt.registration.models - {DECOY}
        if strangers:
            yield f"Battle {number} was fought by {min(strangers)[:8]}…; its round was not registered for that model."


def _check_prompts(documents: Mapping[str, bytes], attempt: Attempt, notes: list[str]) -> Iterator[str]:
    """Yield sentences where the battles are not about the registered prompts, each as often as it was registered.

    A pair may be left out, as a render can fail: that is a note while the rule's fewest pairs remain.
    """
    if not attempt.battles:
        return
    prompts = prompts_of(documents, attempt.registration.prompts_root)
    if prompts is None and attempt.round.winner is None:
        notes.append(f"The prompts of round {attempt.number} were not compared: they are shown once it is over.")
        return
    if prompts is None:
        yield f"Nobody shows the prompts that round {attempt.number} was registered with."
        return
    fought = Counter(battle.prompt_hash for battle in attempt.battles.values())
    registered = Counter(prompt.hash for prompt in prompts)
    needed = Counter(prompt.hash for prompt in prompts if not prompt.catch)
    catches = Counter(battle.prompt_hash for battle in attempt.battles.values() if _is_catch(battle))
    if strange := catches - (registered - needed):
        yield f"Round {attempt.number} reveals {strange.total()} battles as catch pairs that were not registered."
    if extra := fought - registered:
        yield f"Round {attempt.number} holds {extra.total()} battles about prompts that it was not registered with."
    if lacking := (needed - (fought - catches)).total():
        least, remain = attempt.registration.min_pairs, needed.total() - lacking
        lacks = f"Round {attempt.number} lacks {lacking} battles about prompts that it was registered with"
        if least is None:
            yield f"{lacks}."
        elif remain < least:
            yield f"{lacks}: {remain} pairs remain, and its rule demands {least}."
        else:
            notes.append(f"{lacks}; {remain} pairs remain, and its rule demands {least}.")
    yield from _check_salt(documents, attempt, prompts, notes)


def _check_salt(
    documents: Mapping[str, bytes], attempt: Attempt, prompts: Sequence[RegisteredPrompt], notes: list[str]
) -> Iterator[str]:
    """Yield sentences where revealed sides are not those that the registered salt draws, once it is shown."""
    if all(battle.models is None for battle in attempt.battles.values()):
        return
    salt = master_salt(documents, attempt.registration)
    if salt is not None:
        yield from check_sides(attempt.number, attempt.registration, attempt.battles, prompts, salt)
    elif attempt.registration.salt_commitment is not None:
        notes.append(f"Nobody shows the salt of round {attempt.number}: its sides were not drawn again.")


def _is_catch(battle: ReplayedBattle) -> bool:
    return DECOY in [model.hex() for model in battle.models or ()]


def _check_line(line: list[Attempt], releases: Mapping[str, ReplayedCommitment]) -> Iterator[str]:
    """Yield sentences where a community's attempts are not numbered 1, 2, 3 …, or deny one that failed."""
    by_number: dict[int, Attempt] = {}
    for attempt in line:
        number = attempt.registration.attempt
        if number in by_number:
            yield f"Rounds {by_number[number].number} and {attempt.number} are both registered as attempt {number}."
        by_number.setdefault(number, attempt)
    missing = sorted(set(range(1, max(by_number) + 1)) - set(by_number))
    if missing:
        numbers = ", ".join(str(number) for number in missing)
        yield f"Nobody shows attempt {numbers} of community {line[0].registration.community[:8]}…: it was hidden."
    for number, attempt in sorted(by_number.items()):
        failed = 0
        for before in range(1, number):
            earlier = by_number.get(before)
            release = None if earlier is None else releases.get(earlier.round.meta.hex())
            if earlier is not None and (release is None or release.at > attempt.round.opened_at):
                failed = before
        claimed = attempt.registration.last_failed
        if not missing and claimed != failed:
            yield (
                f"Attempt {number} (round {attempt.number}) names attempt {claimed} as the last that failed; by the "
                f"ledger it is {failed}."
            )
        if attempt.round.opened_at < max(
            (by_number[n].round.opened_at for n in by_number if n < number), default=(0, 0)
        ):
            yield f"Attempt {number} (round {attempt.number}) was registered before an earlier one."
