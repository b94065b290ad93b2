"""The log of a battle round with a rule that can be applied: dealt by its salt, voted on in batches, and released."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from contracts.ledger.batch_codec import Ballot, encode, encode_arrivals, number_of
from contracts.manifests import (
    DECOY,
    SALT_PREFIX,
    ReleaseManifest,
    base_model_hash,
    canonical_json,
    document_hash,
    sides_hash,
)
from contracts.outbox.vote_order import FORMAT
from generation.feedback.registration import (
    Eligibility,
    Prompt,
    Registration,
    Rule,
    candidate_is_a,
    commitment_of,
    pair_salt,
    prompts_root,
)
from tests.builders.battle_rounds import RULE
from tests.builders.battles import CANDIDATE, DATASET
from tests.builders.ledger_log import Log, digest

BASE = base_model_hash("tiny@1")
SALT = bytes(range(32))
TIE = 3


def a_registration(prompts: Sequence[Prompt], rule: Rule = RULE, **changes: Any) -> Registration:
    """The first attempt of a community, against the base model."""
    about = Registration(
        community="c0" * 32, attempt=1, last_failed=0, base_model="tiny", base_revision="1", live_release=None,
        candidate=CANDIDATE, data_root=DATASET, prompts_root=prompts_root(prompts),
        pairs=sum(not prompt.catch for prompt in prompts), opens=1, closes=9, salt_commitment=commitment_of(SALT),
        rule=rule, eligibility=Eligibility(7, 3),
    )  # fmt: skip
    return dataclasses.replace(about, **changes)


class RegisteredRound:
    """A round of so many pairs, the last of which is a catch pair; `missing` pairs were never entered."""

    def __init__(self, *, pairs: int = 4, missing: int = 0, min_pairs: int = 1, salt: bytes = SALT) -> None:
        self.log, self.salt = Log(), salt
        self.prompts = [Prompt(str(n), f"prompt {n}", n) for n in range(1, pairs + 1)]
        self.prompts.append(Prompt(str(pairs + 1), "a trap", 0, catch=True))
        self.registration = a_registration(self.prompts, dataclasses.replace(RULE, min_pairs=min_pairs))
        self.text = self.registration.canonical_bytes()
        self.entered = self.prompts[missing:]
        self.order: list[tuple[int, str]] = []  # the pairs and voters, as they voted
        self.seated: list[int] = []
        self.batches = 0
        self.log.dataset()
        self.number = self.log.open(self.text)
        self.log.keep(json.dumps([dataclasses.asdict(prompt) for prompt in self.prompts]).encode())
        for place, prompt in enumerate(self.entered, start=1):
            self.log.add(
                "BattleAdded", battle=number_of(self.number, place), round=self.number, key=digest(prompt.pair),
                prompt_hash=digest(prompt.prompt), content_a=b"", content_b=b"",
                sides=sides_hash(*self.models(prompt), pair_salt(salt, prompt.pair)),
            )  # fmt: skip

    def models(self, prompt: Prompt) -> tuple[bytes, bytes]:
        first, second = (BASE, DECOY) if prompt.catch else (CANDIDATE, BASE)
        a, b = (first, second) if candidate_is_a(self.salt, prompt.pair) else (second, first)
        return bytes.fromhex(a), bytes.fromhex(b)

    def voter_id(self, voter: int) -> bytes:
        return hashlib.sha256(b"%d" % voter).digest()

    def vote(self, words: Sequence[str], *, careless: bool = False) -> None:
        """One batch in which new members vote, each by a word: c for the candidate, l for the live model, t a tie.

        Each answers the catch pair first; who is careless answers it wrong.
        """
        first = 4 + len(self.seated)  # the log registers three voters of its own
        voters = list(range(first, first + len(words)))
        self.log.add("VotersRegistered", first=first, voter_ids=[self.voter_id(voter) for voter in voters])
        arrivals = encode_arrivals(voters)
        seat, ballots = len(self.seated), []
        for offset, (voter, word) in enumerate(zip(voters, words, strict=True)):
            answered = [(self.entered[-1], "l" if careless else "c"), *zip(self.entered, word, strict=False)]
            for prompt, letter in answered:
                a = (letter == "c") == candidate_is_a(self.salt, prompt.pair)
                choice = TIE if letter == "t" else 1 if a else 2
                ballots.append(Ballot(number_of(self.number, 1 + self.entered.index(prompt)), seat + offset, choice))
                self.order.append((self.entered.index(prompt), self.voter_id(voter).hex()))
        battles = {number_of(self.number, 1 + place) for place in range(len(self.entered))}
        self.log.add(
            "VotesRecorded", seq=self.batches, round=self.number, at=5, first_seat=seat, arrivals=arrivals,
            words=encode(ballots, battles),
        )  # fmt: skip
        self.seated += voters
        self.batches += 1

    def end(self, *, show_salt: bool = True) -> None:
        """Finalize and reveal. The round's outcomes are those of its votes."""
        replay = self.log.replay()
        for number, battle in replay.battles.items():
            a, b, ties = battle.tally
            outcome = 0 if not a + b + ties else 3 if a == b else 1 if a > b else 2
            self.log.add("BattleDecided", battle=number, outcome=outcome, a=a, b=b, ties=ties)
        self.log.add("RoundFinalized", round=self.number, winner=0, up=0, down=0)
        for place, prompt in enumerate(self.entered, start=1):
            a_model, b_model = self.models(prompt)
            self.log.add(
                "BattleRevealed", battle=number_of(self.number, place), model_a=a_model, model_b=b_model,
                salt=pair_salt(self.salt, prompt.pair),
            )  # fmt: skip
        if show_salt:
            self.log.keep(SALT_PREFIX + self.salt)

    def told_order(self) -> bytes:
        """The text with the order of votes, as the bot keeps it."""
        voters = list(dict.fromkeys(voter for _, voter in self.order))
        votes = [[place, voters.index(voter)] for place, voter in self.order]
        keys = [digest(prompt.pair).hex() for prompt in self.entered]
        return canonical_json({"format": FORMAT, "battles": keys, "voters": voters, "votes": votes})

    def release(self, *, tell_order: bool = True) -> None:
        """Commit to a release of the candidate, whose description names the order of votes."""
        manifest = ReleaseManifest(
            base_model="tiny@1", adapter=CANDIDATE, dataset=DATASET, dataset_number=1,
            registration=document_hash(self.text), round_key=f"{self.number:064x}", round_number=self.number,
        )  # fmt: skip
        about = {"order": self.log.keep(self.told_order())} if tell_order else {}
        self.log.keep(manifest.to_bytes())
        self.log.commit(2, bytes.fromhex(manifest.root), 0, bytes.fromhex(self.log.keep(canonical_json(about))))
