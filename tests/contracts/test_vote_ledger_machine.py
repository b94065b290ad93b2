"""Any schedule of what relayer, members, guardian and strangers do: the contract does what a plain model says.

Each step asks the model first which refusals are due. None: the contract must take it; else it must refuse with one of
them and change nothing. In the end tallies, ballots, seats, digests, winners, and the log replayed, are the model's.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from contracts.audit.replay import Replay
from contracts.ledger.batch_codec import (
    EMPTY_DIGEST,
    OWN_SEATS,
    Ballot,
    encode,
    encode_arrivals,
    next_digest,
    number_of,
)
from contracts.ledger.calldata import sides_hash
from contracts.ledger.client import Event
from contracts.ledger.typed_data import Domain, ballot_message, link_message, next_signed_digest, unlink_message
from tests.builders.accounts import YES, member, sign
from tests.builders.ledger_bench import Bench, RefusedError

MODELS = (b"A" * 32, b"B" * 32, b"s" * 32)
MEMBERS = [member(number) for number in range(3)]
SALT = itertools.count(1)
MODEL = (
    *("domain", "smart", "wallets", "rounds", "voters", "linked", "nonces", "paused"),
    *("seq", "digest", "signed", "signed_digest", "commitments", "log"),
)
MOST_VOTERS, MOST_ROUNDS, MOST_ITEMS = 16, 3, 4


@dataclass
class Round:
    """A round as the model has it; a seat is where a voter stands in `seats`, or in `own` for wallets' own."""

    opens: int
    closes: int
    grace: int
    battles: list[bool] = field(default_factory=list)  # of each item, whether it is one
    seats: list[int] = field(default_factory=list)
    rolls: dict[int, list[int]] = field(default_factory=dict)  # the arrivals that begin with a seat
    own: list[int] = field(default_factory=list)
    claimed: set[int] = field(default_factory=set)  # voters whose seats batches gave and wallets took
    choices: dict[tuple[int, int], int] = field(default_factory=dict)  # (place, voter) -> choice, 0 absent
    winner: int | None = None

    @property
    def end(self) -> int:
        return self.closes + self.grace

    def seat_of(self, voter: int) -> int | None:
        if voter in self.seats:
            return self.seats.index(voter)
        return OWN_SEATS + self.own.index(voter) if voter in self.own else None

    def tally(self, place: int) -> tuple[int, int, int]:
        chosen = [choice for (at, _), choice in self.choices.items() if at == place]
        return chosen.count(1), chosen.count(2), chosen.count(3)

    def best(self) -> int:
        """The winner's place: best net score, most ups, lowest place; 0 where nobody votes on a video."""
        scores = {at: self.tally(at) for at, battle in enumerate(self.battles, 1) if not battle}
        if not any(sum(score) for score in scores.values()):
            return 0
        return max(scores, key=lambda at: (scores[at][0] - scores[at][1], scores[at][0], -at))


class Community(RuleBasedStateMachine):
    """Relayer, members with and without wallets, guardian, and strangers, on one ledger."""

    deployed: Bench
    folder: Path
    begun: Community | None = None  # whose state the others go on from

    def __init__(self) -> None:
        super().__init__()
        directory = self.folder / str(next(SALT))
        directory.mkdir()
        self.looked_at = 0
        if self.begun is not None:
            for name in MODEL:
                setattr(self, name, copy.deepcopy(getattr(self.begun, name)))
            self.bench = self.begun.bench.copy(directory)
            return
        self.bench = self.deployed.copy(directory)
        self.domain = Domain(5, self.bench.address)
        self.smart = self.bench.put(YES)
        self.wallets = [*[account.address for account in MEMBERS], self.smart]
        self.rounds: list[Round] = []
        self.voters = 0
        self.linked: dict[int, str] = {}
        self.nonces = dict.fromkeys(self.wallets, 0)
        self.paused = False
        self.seq, self.digest = 0, EMPTY_DIGEST
        self.signed, self.signed_digest = 0, EMPTY_DIGEST
        self.commitments: list[tuple[int, bytes, int]] = []
        self.log: list[Event] = []
        self.begin()

    def begin(self) -> None:
        """A round that runs, with two videos and a battle, and ten voters: four sit, and three have wallets."""
        key = bytes(31) + b"\x01"
        self.rounds.append(Round(self.now, self.now + 90, 30))
        assert self.does(self.bench.relayer, [], "open_round", key, self.now, self.now + 90, 30, b"m" * 32)
        for battle in (False, False, True):
            self.add(1, battle)
        self.register_next(10)
        for wallet, voter in ((self.wallets[0], 1), (self.smart, 2)):
            told = (voter.to_bytes(32, "big"), 1, self.now)
            signature = self.signs(wallet, link_message(self.domain, wallet, *told), wrongly=False)
            assert self.does(self.bench.relayer, [], "link", told[0], wallet, *told[1:], signature)
            self.linked[voter], self.nonces[wallet] = wallet, 1
        self.send_batch(1, {(1, 3): 1, (1, 4): 2, (3, 5): 3, (2, 6): 1})
        told = ((3).to_bytes(32, "big"), 1, self.now)
        signature = self.signs(self.wallets[1], link_message(self.domain, self.wallets[1], *told), wrongly=False)
        assert self.does(self.bench.relayer, [], "link", told[0], self.wallets[1], *told[1:], signature)
        self.linked[3], self.nonces[self.wallets[1]] = self.wallets[1], 1

    def teardown(self) -> None:
        try:
            self.everything_is_as_the_model_says()
        finally:
            self.bench.blocks.close()

    # ------------------------------------------------------------------ acting

    @property
    def now(self) -> int:
        return self.bench.now

    def does(self, who: Any, reasons: list[str], function: str, *args: Any) -> bool:
        """Whether it was done, which must be when no reason is against it; otherwise it is refused for one of them."""
        if self.paused and function not in ("unpause", "pause"):
            reasons = [*reasons, "paused"]
        try:
            receipt = self.bench.do(who, function, *args)
        except RefusedError as refusal:
            assert refusal.reason.removeprefix("ledger: ") in reasons, (function, args, refusal.reason, reasons)
            return False
        assert not reasons, (function, args, reasons)
        for name, told in self.bench.events(receipt):
            block = int(receipt["blockNumber"], 16)
            self.log.append(Event(name, told, block, len(self.log), receipt["transactionHash"]))
        return True

    def signs(self, wallet: str, message: dict[str, Any], wrongly: bool) -> bytes:
        if wallet == self.smart:
            return b"anything at all"
        at = self.wallets.index(wallet)
        return sign(MEMBERS[at - 1 if wrongly else at], message)

    def wrong_in_signing(self, wallet: str, nonce: int, deadline: int, wrongly: bool) -> list[str]:
        reasons = ["stale nonce"] if not self.nonces[wallet] < nonce < 2**64 else []
        reasons += ["late"] if deadline < self.now else []
        return reasons + (["bad signature"] if wrongly and wallet != self.smart else [])

    # ------------------------------------------------------------------ rules

    @rule(seconds=st.sampled_from([0, 1, 2, 7, 25]))
    def time_passes(self, seconds: int) -> None:
        self.bench.now += seconds  # 25 end a grace now and then

    @precondition(lambda self: len(self.rounds) < MOST_ROUNDS)
    @rule(opens=st.integers(-2, 6), lasts=st.integers(0, 60), grace=st.sampled_from([0, 10, 40]))
    def open_round(self, opens: int, lasts: int, grace: int) -> None:
        made = Round(self.now + opens, self.now + opens + lasts, grace)
        reasons = ["bad times"] if lasts == 0 or made.end <= self.now else []
        key = (1000 + len(self.rounds)).to_bytes(32, "big")
        if self.does(self.bench.relayer, reasons, "open_round", key, made.opens, made.closes, grace, b"m" * 32):
            self.rounds.append(made)

    def a_round(self, data: st.DataObject, with_items: bool = False) -> tuple[int, Round]:
        """One of the rounds, and the first as often as all others."""
        numbers = [number for number, about in enumerate(self.rounds, 1) if about.battles or not with_items]
        number = data.draw(st.sampled_from([1] * len(numbers) + numbers))
        return number, self.rounds[number - 1]

    @precondition(lambda self: self.rounds)
    @rule(data=st.data(), battle=st.booleans())
    def add_item(self, data: st.DataObject, battle: bool) -> None:
        number, about = self.a_round(data)
        if len(about.battles) == MOST_ITEMS:
            return
        self.add(number, battle)

    def add(self, number: int, battle: bool) -> None:
        about = self.rounds[number - 1]
        reasons = ["round closed"] if self.now >= about.end else []
        key = (number << 16 | len(about.battles)).to_bytes(32, "big")
        if battle:
            done = self.does(
                self.bench.relayer, reasons, "add_battle", key, number, b"p" * 32, b"a" * 32, b"b" * 32,
                sides_hash(*MODELS),
            )  # fmt: skip
        else:
            done = self.does(
                self.bench.relayer, reasons, "add_video", key, number, b"p" * 32, b"c" * 32, b"o" * 32, "x"
            )
        if done:
            about.battles.append(battle)

    @precondition(lambda self: self.voters < MOST_VOTERS)
    @rule(count=st.integers(1, 9), twice=st.booleans())
    def register(self, count: int, twice: bool) -> None:
        self.register_next(count, twice)

    def register_next(self, count: int, twice: bool = False) -> None:
        named = [number.to_bytes(32, "big") for number in range(self.voters + 1, self.voters + count + 1)]
        if twice:
            assert not self.does(self.bench.relayer, ["voter exists"], "register", [*named, named[0]])
        if self.does(self.bench.relayer, [], "register", named):
            self.voters += count

    @precondition(lambda self: any(about.battles for about in self.rounds))
    @rule(data=st.data(), wrong=st.sampled_from([*[None] * 9, "sequence", "word", "early"]))
    def relay(self, data: st.DataObject, wrong: str | None) -> None:
        """A batch of some voters' choices; now and then by a wrong number, or with a word about nothing."""
        number, about = self.a_round(data, with_items=True)
        places = st.integers(1, len(about.battles))
        drawn = data.draw(
            st.dictionaries(st.tuples(places, st.integers(1, self.voters)), st.integers(0, 3), min_size=1, max_size=9)
        )
        chosen = {
            (place, voter): (choice or 1) if about.battles[place - 1] else choice % 3
            for (place, voter), choice in drawn.items()
            if voter not in about.own  # those seats no batch can name
            and (voter in about.seats or voter not in self.linked or wrong == "early")  # mostly the relayer knows
            and (voter not in about.claimed or wrong == "early")
        }
        if chosen:
            self.send_batch(number, chosen, wrong)

    def send_batch(self, number: int, chosen: dict[tuple[int, int], int], wrong: str | None = None) -> None:
        about = self.rounds[number - 1]
        arrivals = [voter for voter in dict.fromkeys(voter for _, voter in chosen) if voter not in about.seats]
        seats = [*about.seats, *arrivals]
        ballots = [Ballot(number_of(number, at), seats.index(voter), choice) for (at, voter), choice in chosen.items()]
        battles = {number_of(number, place) for place, battle in enumerate(about.battles, 1) if battle}
        words = encode(ballots, battles)
        reasons = ["round not open"] if self.now < about.opens else []
        reasons += ["round closed"] if self.now >= about.end else []
        reasons += ["voter linked"] if any(voter in self.linked for voter in arrivals) else []
        reasons += ["seat claimed"] if any(voter in about.claimed for _, voter in chosen) else []
        seq = self.seq
        if wrong == "sequence":
            seq, reasons = seq + 1, [*reasons, "wrong sequence"]
        if wrong == "word":
            words.append((len(about.battles) + 1) << 246 | 1)
            reasons.append("unknown video")
            reasons += ["seat claimed"] if seats[0] in about.claimed else []  # the word is of the first seat
        packed = encode_arrivals(arrivals)
        if self.does(self.bench.relayer, reasons, "batch", seq, number, packed, words):
            if arrivals:
                about.rolls[len(about.seats)] = arrivals
            about.seats = seats
            self.choose(about, chosen)
            self.seq += 1
            self.digest = next_digest(self.digest, number, packed, words)

    def choose(self, about: Round, chosen: dict[tuple[int, int], int]) -> None:
        for key, choice in chosen.items():
            if choice:
                about.choices[key] = choice
            else:
                about.choices.pop(key, None)

    @rule(
        data=st.data(),
        wallet=st.integers(0, 3),
        wrong=st.sampled_from([*[None] * 5, "nonce", "late", "signer", "stranger", "voter"]),
    )
    def link(self, data: st.DataObject, wallet: int, wrong: str | None) -> None:
        account, voter = self.wallets[wallet], data.draw(st.integers(1, self.voters)) + 99 * (wrong == "voter")
        wrongly, by_stranger = wrong == "signer", wrong == "stranger"
        told = (voter.to_bytes(32, "big"), self.nonces[account] + (wrong != "nonce"), self.now - (wrong == "late"))
        reasons = self.wrong_in_signing(account, told[1], told[2], wrongly)
        reasons += ["unknown voter"] if wrong == "voter" else []
        reasons += ["voter linked"] if voter in self.linked else []
        reasons += ["wallet linked"] if account in self.linked.values() else []
        reasons += ["not a relayer"] if by_stranger else []
        signature = self.signs(account, link_message(self.domain, account, *told), wrongly)
        who = self.bench.stranger if by_stranger else self.bench.relayer
        if self.does(who, reasons, "link", told[0], account, *told[1:], signature):
            self.linked[voter], self.nonces[account] = account, told[1]

    @precondition(lambda self: self.linked)
    @rule(data=st.data(), nonce=st.integers(0, 2), wrongly=st.sampled_from([False, True]))
    def unlink(self, data: st.DataObject, nonce: int, wrongly: bool) -> None:
        voter = data.draw(st.sampled_from(sorted(self.linked)))
        account = self.linked[voter]
        told = (voter.to_bytes(32, "big"), self.nonces[account] + nonce, self.now)
        reasons = self.wrong_in_signing(account, told[1], told[2], wrongly)
        signature = self.signs(account, unlink_message(self.domain, account, *told), wrongly)
        if self.does(self.bench.stranger, reasons, "unlink", *told, signature):
            del self.linked[voter]
            self.nonces[account] = told[1]

    @precondition(lambda self: any(about.rolls for about in self.rounds))
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        number, about = self.a_round(data)
        if not about.rolls:
            return
        first = data.draw(st.sampled_from(sorted(about.rolls)))
        arrivals = about.rolls[first]
        at = data.draw(st.integers(0, len(arrivals) - 1))
        voter = arrivals[at]
        reasons = ["seat claimed"] if voter in about.claimed else []
        reasons += ["not linked"] if voter not in self.linked else []
        if self.does(self.bench.stranger, reasons, "claim", number, first + at, first, encode_arrivals(arrivals)):
            about.claimed.add(voter)

    @precondition(lambda self: self.linked and any(about.battles for about in self.rounds))
    @rule(
        data=st.data(),
        wrong=st.sampled_from([*[None] * 9, "stale", "huge", "late", "signer", "chain", "wallet", "video", "choice"]),
    )
    def cast(self, data: st.DataObject, wrong: str | None) -> None:
        """A signed ballot about some items of a round; now and then of a wallet that nobody linked, or wrong."""
        number, about = self.a_round(data, with_items=True)
        account = data.draw(st.sampled_from(self.wallets if wrong == "wallet" else sorted(self.linked.values())))
        voter = next((voter for voter, wallet in self.linked.items() if wallet == account), 0)
        places = st.integers(1, len(about.battles))
        drawn = data.draw(st.lists(st.tuples(places, st.integers(0, 3)), min_size=wrong is None, max_size=5))
        choices = [
            (place, choice if any(about.battles[place - 1 : place]) or wrong == "choice" else choice % 3)
            for place, choice in drawn
        ]
        choices += [(len(about.battles) + 1, 1)] if wrong == "video" else []
        choices += [(1, 4)] if wrong == "choice" else []
        nonce, late = {"stale": 0, "huge": 2**64}.get(wrong or "", 1), wrong == "late"
        wrongly, other_chain = wrong == "signer", wrong == "chain"
        listed = [(number_of(number, place), choice) for place, choice in choices]
        told = (number, listed, self.nonces[account] + nonce, self.now - late)
        domain = Domain(6, self.bench.address) if other_chain else self.domain
        reasons = self.wrong_in_signing(account, told[2], told[3], wrongly or other_chain)
        reasons += ["not linked"] if not voter else []
        reasons += ["empty ballot"] if not choices else []
        reasons += ["round not open"] if self.now < about.opens else []
        reasons += ["round closed"] if self.now >= about.closes else []
        reasons += ["seat not claimed"] if voter in about.seats and voter not in about.claimed else []
        for place, choice in choices:
            there = place <= len(about.battles)
            reasons += [] if there else ["unknown video"]
            reasons += ["bad choice"] if choice == 4 or (there and choice == 3 and not about.battles[place - 1]) else []
        message = ballot_message(domain, account, *told)
        signature = self.signs(account, message, wrongly)
        if self.does(self.bench.stranger, reasons, "cast_signed", account, *told, signature):
            if voter not in about.seats and voter not in about.own:
                about.own.append(voter)
            for place, choice in choices:
                self.choose(about, {(place, voter): choice})
            self.nonces[account] = told[2]
            self.signed += 1
            self.signed_digest = next_signed_digest(self.signed_digest, account, message)
            again = ("cast_signed", account, *told, signature)
            assert not self.does(self.bench.stranger, ["stale nonce"], *again)

    @rule(data=st.data(), sure=st.sampled_from([True, False, False, False]))
    def close_round(self, data: st.DataObject, sure: bool) -> None:
        """Seldom: there is little to see afterwards."""
        number, about = self.a_round(data)
        if not sure:
            return
        reasons = ["round closed"] if self.now >= about.end else []
        if self.does(self.bench.relayer, reasons, "close_round", number):
            about.closes = min(about.closes, self.now)
            about.grace = self.now - about.closes

    @precondition(lambda self: self.rounds)
    @rule(data=st.data())
    def finalize(self, data: st.DataObject) -> None:
        number, about = self.a_round(data)
        reasons = ["round open"] if self.now < about.end else []
        reasons += ["round final"] if about.winner is not None else []
        if self.does(self.bench.stranger, reasons, "finalize", number):
            about.winner = about.best()

    @precondition(lambda self: len(self.commitments) < 3)
    @rule(kind=st.integers(1, 3), root=st.integers(0, 4), parent=st.integers(0, 3))
    def commit(self, kind: int, root: int, parent: int) -> None:
        made = (kind, root.to_bytes(32, "big"), parent)
        reasons = ["unknown kind"] if kind == 3 else []
        reasons += ["no root"] if root == 0 else []
        reasons += ["commitment exists"] if any(known[:2] == made[:2] for known in self.commitments) else []
        if parent and (parent > len(self.commitments) or self.commitments[parent - 1][0] != kind):
            reasons.append("unknown parent")
        if self.does(self.bench.relayer, reasons, "commit", *made, b"m" * 32):
            self.commitments.append(made)

    @rule(stop=st.sampled_from([*[False] * 9, True]))
    def guard(self, stop: bool) -> None:
        """The guardian seldom stops; the owner lets go on."""
        if not stop and not self.paused:
            return
        if stop and self.does(self.bench.guardian, ["paused"] if self.paused else [], "pause"):
            self.paused = True
        elif not stop and self.does(self.bench.owner, [] if self.paused else ["not paused"], "unpause"):
            self.paused = False

    relay_more = relay_most = relay  # what matters most is done most
    cast_more = cast

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def the_sums_agree(self) -> None:
        """After every step that did something: where batches stand, and every tally."""
        if self.looked_at == len(self.log):
            return
        self.looked_at = len(self.log)
        assert (self.bench.read("seq"), self.bench.read("digest")) == (self.seq, self.digest)
        for number, about in enumerate(self.rounds, 1):
            for place in range(1, len(about.battles) + 1):
                assert self.bench.read("tally", number_of(number, place)) == about.tally(place)

    def everything_is_as_the_model_says(self) -> None:
        """In the end: every ballot, seat, time, link and commitment, and the same again from the log alone."""
        read = self.bench.read
        replay = Replay(self.domain).apply(self.log)
        assert replay.problems == []
        assert {one.account for one in replay.unproven} <= {self.smart}
        assert (read("signed_count"), read("signed_digest")) == (self.signed, self.signed_digest)
        assert (replay.signed, replay.signed_digest) == (self.signed, self.signed_digest)
        assert (replay.seq, replay.digest) == (self.seq, self.digest)
        assert (read("rounds_count"), len(replay.rounds)) == (len(self.rounds),) * 2
        assert (read("voters_count"), len(replay.voters)) == (self.voters,) * 2
        assert (read("linked_count"), replay.wallets) == (len(self.linked), self.linked)
        assert {wallet: nonce for wallet, nonce in self.nonces.items() if nonce} == replay.nonces
        for wallet, nonce in self.nonces.items():
            voter = next((voter for voter, linked in self.linked.items() if linked == wallet), 0)
            assert read("voter_of", wallet) == (voter, nonce)
        for number, (kind, root, parent) in enumerate(self.commitments, 1):
            assert read("commitment", number) == (kind, root, parent)
        assert (read("commitments_count"), replay.commitments) == (len(self.commitments),) * 2
        for number, about in enumerate(self.rounds, 1):
            winner = number_of(number, about.winner) if about.winner else 0
            times = (about.opens, about.closes, about.grace)
            assert read("round_info", number) == (
                *times, len(about.battles), len(about.seats), about.winner is not None, winner,
            )  # fmt: skip
            told = replay.rounds[number]
            assert (told.opens, told.closes, told.grace, told.seats) == (*times, len(about.seats))
            assert told.winner == (None if about.winner is None else winner)
            assert replay.by_wallet(number) == {*about.own, *about.claimed}
            for voter in range(1, self.voters + 1):
                self.a_voter_is_as_the_model_says(number, about, voter, replay)

    def a_voter_is_as_the_model_says(self, number: int, about: Round, voter: int, replay: Replay) -> None:
        seat = about.seat_of(voter)
        owned = voter in about.own or voter in about.claimed
        assert self.bench.read("is_seated", number, voter) == (seat is not None)
        assert self.bench.read("own_seat", number, voter) == ((True, seat) if owned else (False, 0))
        if seat is None:
            return
        assert replay.rounds[number].voters[seat] == voter
        for place, battle in enumerate(about.battles, 1):
            item = number_of(number, place)
            chosen = about.choices.get((place, voter), 0)
            assert self.bench.read("vote_of", item, seat) == chosen
            told = replay.battles[item] if battle else replay.videos[item]
            assert told.ballots.get(voter, 0) == chosen


def test_any_schedule_leaves_what_the_model_says(deployed: Any, tmp_path: Path) -> None:
    """Contract, model and replayed log agree on everything, whatever was tried in whatever order."""

    class Here(Community):
        pass

    Here.deployed, Here.folder = deployed, tmp_path
    begun = Here()
    begun.bench.blocks.close()
    Here.begun = begun
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=5,
            stateful_step_count=50,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
