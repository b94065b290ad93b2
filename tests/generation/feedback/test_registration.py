"""A registration has the same bytes everywhere, and a file that says anything else is refused with a sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.feedback.registration import (
    Eligibility,
    Prompt,
    Registration,
    RegistrationError,
    Rule,
    candidate_is_a,
    commitment_of,
    deal,
    pair_salt,
    prompts_root,
    read_registration,
    rule_for,
)

SALT = bytes(range(32))
RULE = rule_for(3, 1)
PROMPTS = [Prompt(f"p{number}", "a red fish swims", number, catch=number % 12 == 0) for number in range(5)]
GOOD = Registration(
    community="1" * 64,
    attempt=3,
    last_failed=1,
    base_model="tiny",
    base_revision="0123abc",
    live_release="2" * 64,
    candidate="3" * 64,
    data_root="4" * 64,
    prompts_root=prompts_root(PROMPTS),
    pairs=120,
    opens=1_790_000_000,
    closes=1_790_086_400,
    salt_commitment=commitment_of(SALT),
    rule=RULE,
    eligibility=Eligibility(member_days=14, votes_before=10),
)


def changed(**fields: Any) -> bytes:
    """The good registration with other fields, in canonical form; a field `rule__x` is the rule's."""
    value = dataclasses.asdict(GOOD)
    for name, content in fields.items():
        value["rule"].update({name[6:]: content}) if name.startswith("rule__") else value.update({name: content})
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_a_registration_is_read_as_it_was_written() -> None:
    """Its hash is the file's SHA-256, 32 bytes for the ledger."""
    data = GOOD.canonical_bytes()
    assert read_registration(data) == GOOD
    assert GOOD.hash() == hashlib.sha256(data).hexdigest()
    assert len(bytes.fromhex(GOOD.hash())) == 32
    assert data.isascii()
    assert b"." not in data.replace(b".0", b"")  # no number has a fraction


def test_the_bytes_never_change() -> None:
    """A registration that is on a ledger must keep its hash in every later version."""
    assert GOOD.hash() == "28a2d226d0f4a7cfc0d7a7d6edd133e18987873bc20d85e026a0e3621d32f765"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "Registration is no JSON object"),
        (changed(winner="x"), "has no field 'winner'"),
        (changed(rule__mercy=1), "has no field rule.'mercy'"),
        (changed(attempt="3"), "attempt is of the wrong type"),
        (changed(attempt=3.0), "attempt is of the wrong type"),
        (changed(rule__wealth=True), "rule.wealth is of the wrong type"),
        (changed(format="flock-battle-registration/2"), "has the format 'flock-battle-registration/2'"),
        (changed(candidate="3" * 63 + "G"), "candidate is no hash"),
        (changed(live_release="2" * 65), "live_release is no hash"),
        (changed(candidate="2" * 64), "the live release itself"),
        (changed(base_revision=""), "no revision"),
        (changed(attempt=0, last_failed=0), "cannot follow"),
        (changed(last_failed=3), "cannot follow"),
        (changed(closes=GOOD.opens), "close after it opens"),
        (changed(pairs=99), "has 99 pairs; the rule asks for 100"),
        (changed(eligibility={"member_days": -1, "votes_before": 0}), "from 0"),
        (changed(last_failed=2), "may spend 0.00417"),  # the rule spends what a release would have passed on
        (changed(rule__wealth=RULE.wealth - 1), "not more"),
        (changed(rule__alpha_ppb=RULE.alpha_ppb + 1), "not more"),
        (changed(rule__min_voters=RULE.min_voters - 1), "could never release"),
        (changed(rule__bets_permille=[500, 250]), "must rise"),
        (changed(rule__bets_permille=[500, 1000]), "at most 999"),
        (changed(rule__bets_permille=[]), "must rise"),
        (changed(rule__ballot_at_close=6), "at most those of a full ballot"),
        (changed(rule__catch_failures=0), "wrong answer"),
        (changed(rule__removals_ppm=500_000), "half of its voters"),
        (changed(rule__refusal_wealth=1), "needs evidence"),
        (changed(rule__max_votes=-1), "max_votes is negative"),
        (changed(rule__life_ppb=0), "between 0 and 1"),
        (json.dumps(dataclasses.asdict(GOOD)).encode(), "not in its canonical form"),
        (GOOD.canonical_bytes()[:-1], "not in its canonical form"),
        (GOOD.canonical_bytes().replace(b'"attempt":3', b'"attempt":3,"attempt":3'), "not in its canonical form"),
    ],
)
def test_a_wrong_registration_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    """It names what is wrong."""
    with pytest.raises(RegistrationError, match=r"\.$") as caught:
        read_registration(data)
    assert sentence in str(caught.value)


def test_a_field_that_is_missing_is_named() -> None:
    """A default of a later version must not be read into an earlier file."""
    value = json.loads(GOOD.canonical_bytes())
    del value["rule"]["group_wealth"]
    with pytest.raises(RegistrationError, match="canonical form"):
        read_registration(json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    del value["rule"]
    with pytest.raises(RegistrationError, match="lacks the field 'rule'"):
        read_registration(json.dumps(value).encode())


def test_a_stricter_rule_may_be_registered() -> None:
    """More evidence, more voters, larger ballots; the error budget is a bound, and no duty."""
    rule = dataclasses.replace(RULE, wealth=RULE.wealth + 60, min_voters=30, ballot_battles=8)
    assert read_registration(dataclasses.replace(GOOD, rule=rule).canonical_bytes()).rule == rule
    assert rule_for(4, 3, rule).ballot_battles == 8


@given(st.integers(1, 500), st.data())
def test_the_rule_of_every_attempt_passes_its_own_check(attempt: int, data: st.DataObject) -> None:
    """Whatever the attempts before it ended in."""
    last_failed = data.draw(st.integers(0, attempt - 1))
    rule = rule_for(attempt, last_failed)
    rule.check(attempt, last_failed)
    assert rule.wealth * (rule.alpha_ppb + 1) >= 10**9
    assert rule.wealth >= 20


@pytest.mark.parametrize(("days", "votes", "admitted"), [(14, 10, True), (13, 10, False), (14, 9, False)])
def test_members_count_who_were_there_and_voted_before(days: int, votes: int, admitted: bool) -> None:
    """Both, not one of them."""
    assert GOOD.eligibility.admits(days, votes) is admitted


@pytest.mark.parametrize(
    "other",
    [
        PROMPTS[:-1],
        [*PROMPTS[:-1], dataclasses.replace(PROMPTS[-1], seed=99)],
        [*PROMPTS[:-1], dataclasses.replace(PROMPTS[-1], prompt="a blue fish swims")],
        [*PROMPTS[:-1], dataclasses.replace(PROMPTS[-1], catch=True)],
        PROMPTS[::-1],
        [],
    ],
)
def test_any_other_prompt_seed_or_order_has_another_root(other: list[Prompt]) -> None:
    """The same prompts have the same one."""
    assert prompts_root(list(PROMPTS)) == GOOD.prompts_root != prompts_root(other)


def test_the_root_is_that_of_rfc_6962() -> None:
    """Leaves and nodes are hashed apart, so that no node passes for a prompt. Two prompts of one pair have none."""

    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    a, b, c = (
        sha(b"\0" + json.dumps(dataclasses.asdict(prompt), sort_keys=True, separators=(",", ":")).encode())
        for prompt in PROMPTS[:3]
    )
    assert prompts_root(PROMPTS[:3]) == sha(b"\1" + sha(b"\1" + a + b) + c).hex()
    with pytest.raises(RegistrationError, match="same pair"):
        prompts_root([PROMPTS[0], PROMPTS[0]])


def test_sides_follow_from_the_salt_and_are_fair() -> None:
    """The same salt gives the same sides, another one others; half of the candidates stand on each side."""
    sides = [candidate_is_a(SALT, str(pair)) for pair in range(1000)]
    assert sides == [candidate_is_a(SALT, str(pair)) for pair in range(1000)]
    assert sides != [candidate_is_a(SALT[::-1], str(pair)) for pair in range(1000)]
    assert 430 < sum(sides) < 570


def test_a_salt_is_committed_to_and_hard_to_guess() -> None:
    """The commitment tells neither the salt nor a pair's; a short salt has none."""
    assert commitment_of(SALT) != commitment_of(SALT[::-1])
    assert len({pair_salt(SALT, str(pair)) for pair in range(100)} | {SALT}) == 101
    with pytest.raises(RegistrationError, match="could be guessed"):
        commitment_of(b"short")


def test_each_member_is_dealt_every_pair_once_with_a_catch_pair_in_the_ballot() -> None:
    """In an order of their own; catch pairs after the ballot are one in twelve."""
    battles, catches = [f"b{number}" for number in range(110)], [f"c{number}" for number in range(9)]
    places = set()
    for voter in map(str, range(60)):
        order = deal(SALT, voter, battles, catches, RULE)
        assert order == deal(SALT, voter, battles, catches, RULE)
        assert len(order) == len(set(order))
        assert set(battles) <= set(order)
        first = order[: RULE.ballot_at_close + 1]
        assert sum(pair in catches for pair in first) == 1
        assert not set(order[3:6]) & set(catches)
        assert sum(pair in catches for pair in order[6:18]) == 1
        places.add(next(place for place, pair in enumerate(first) if pair in catches))
    assert places == {0, 1, 2}
    assert deal(SALT, "1", battles, catches, RULE) != deal(SALT, "2", battles, catches, RULE)


def test_the_bot_needs_no_package_for_it() -> None:
    """Gate and registration import the standard library, and the strict reader alone."""
    code = "import sys, generation.feedback.gate, generation.feedback.registration; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    names = {name.partition(".")[0] for name in done.stdout.split()}
    assert "generation" in names
    assert not names - sys.stdlib_module_names - {"generation", "__main__"}


def test_the_usual_rule_asks_for_forty() -> None:
    """The first attempt spends half of the budget of 5 %; nine voters are then the fewest."""
    assert (rule_for(1, 0).wealth, rule_for(1, 0).min_voters, rule_for(1, 0).alpha_ppb) == (40, 9, 25_000_000)
    assert isinstance(rule_for(1, 0), Rule)
