"""Battle rounds as pure rules: the salt decides, members are dealt what few have seen, and catch pairs hide."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.battles import (
    BallotSize,
    ShownPair,
    Verdict,
    VerdictState,
    choose_pair,
    fewest_prompts,
    is_catch_turn,
    outcome_of,
    plan_pairs,
    video_id,
)
from generation.feedback.evidence.ballots import Outcome
from generation.feedback.registration import Eligibility
from migrations.states.battles import BattleChoice
from tests.builders.battle_rounds import LIVE, SALT, a_plan, a_verdict


def test_a_candidate_is_another_model_than_the_live_one() -> None:
    """And it has an adapter."""
    with pytest.raises(ValueError, match="live model itself"):
        a_plan(live=a_plan().candidate)
    with pytest.raises(ValueError, match="adapter"):
        a_plan(candidate=LIVE)


def test_pairs_are_of_all_prompts_with_seeds_of_their_own() -> None:
    """Where prompts are few they come again; a catch pair has another prompt as its decoy. One prompt is too few."""
    pairs = plan_pairs(["a", "b", "a"], 5, 2, "s")
    assert [pair.prompt for pair in pairs] == ["a", "b", "a", "b", "a", "b", "a"]
    assert len({pair.seed for pair in pairs}) == 7
    assert sum(pair.decoy is not None for pair in pairs) == 2
    places = {tuple(pair.decoy is None for pair in plan_pairs(["a", "b"], 5, 2, f"s{n}")) for n in range(40)}
    assert len(places) > 5  # a pair's number does not tell a catch pair
    assert all(pair.decoy != pair.prompt for pair in pairs)
    for prompts, battles in ((["a", "a"], 5), (["a", "b"], 0)):
        with pytest.raises(ValueError, match="two prompts"):
            plan_pairs(prompts, battles, 1, "s")


def test_more_pairs_need_more_prompts() -> None:
    """A prompt comes fifty times at most, and a catch pair needs a second one."""
    assert [fewest_prompts(pairs) for pairs in (1, 100, 101, 300)] == [2, 2, 3, 6]


def test_a_video_is_named_by_digits_that_differ() -> None:
    """As workers want them."""
    names = {video_id("key", str(number), first) for number in range(50) for first in (True, False)}
    assert len(names) == 100
    assert all(name.isdigit() and len(name) <= 20 for name in names)


@settings(max_examples=30)
@given(
    st.binary(min_size=16, max_size=32),
    st.sampled_from(["", "v", "another voter"]),
    st.integers(1, 8),
    st.integers(1, 2),
    st.data(),
)
def test_a_member_meets_the_catch_pairs_early_and_everything_once(
    salt: bytes, voter: str, battles: int, catches: int, data: st.DataObject
) -> None:
    """The catch pairs of a ballot lie among the first turns; nobody is shown a pair twice; all are shown in the end."""
    size = BallotSize(battles, catches, data.draw(st.integers(1, battles)), 4)
    pairs = [ShownPair(n, str(n), n > battles + 3, data.draw(st.integers(0, 5))) for n in range(1, battles + 6)]
    seen: list[int] = []
    while (pair_id := choose_pair(salt, voter, size, pairs, seen)) is not None:
        assert pair_id not in seen
        seen.append(pair_id)
    assert sorted(seen) == [pair.id for pair in pairs]
    early = size.at_close + size.catches
    assert sum(pair_id > battles + 3 for pair_id in seen[:early]) == catches
    assert sum(is_catch_turn(salt, voter, turn, size) for turn in range(size.pairs)) == catches
    assert sum(is_catch_turn(salt, voter, size.pairs + turn, size) for turn in range(4)) == 1


def test_the_next_pair_is_one_that_few_have_seen() -> None:
    """Whatever the salt says; it decides among equals alone, differently for each member."""
    size = BallotSize(3, 0, 1, 1000)
    pairs = [ShownPair(n, str(n), False, 2) for n in range(1, 20)]
    few = [*pairs, ShownPair(99, "99", False, 1)]
    assert {choose_pair(SALT, f"v{n}", size, few, set()) for n in range(20)} == {99}
    assert len({choose_pair(SALT, f"v{n}", size, pairs, set()) for n in range(40)}) > 5
    assert choose_pair(SALT, "v", size, pairs, range(1, 20)) is None


@pytest.mark.parametrize("first_is_a", [True, False])
def test_choices_mean_what_their_side_was(first_is_a: bool) -> None:
    """For a battle; a tie moves nothing. A catch pair is passed by its right side alone."""
    first, second = (BattleChoice.A, BattleChoice.B) if first_is_a else (BattleChoice.B, BattleChoice.A)
    battle = [
        outcome_of(choice, first_is_a, False) for choice in (first, second, BattleChoice.TIE, BattleChoice.BOTH_BAD)
    ]
    assert battle == [Outcome.CANDIDATE, Outcome.LIVE, Outcome.TIE, Outcome.BOTH_BAD]
    catch = [
        outcome_of(choice, first_is_a, True) for choice in (first, second, BattleChoice.TIE, BattleChoice.BOTH_BAD)
    ]
    assert catch == [Outcome.CATCH_PASSED, *[Outcome.CATCH_FAILED] * 3]


def test_eligibility_asks_for_days_and_votes() -> None:
    """Both; without a rule everybody is admitted."""
    rule = Eligibility(member_days=7, votes_before=3)
    assert rule.admits(7, 3)
    assert not rule.admits(6.9, 3)
    assert not rule.admits(7, 2)
    assert Eligibility(0, 0).admits(0, 0)


@pytest.mark.parametrize("state", VerdictState)
def test_a_verdict_survives_the_database(state: VerdictState) -> None:
    """As JSON and back; only an undecided one may still change."""
    verdict = a_verdict(state, equal_motion_permille=None)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
    assert verdict.decided == (state != VerdictState.UNDECIDED)
