"""A member counts once, by the first battles; who fails a catch pair is held out, who avoids them is not counted."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.feedback.evidence.ballots import BallotRule, Outcome, Vote, ballots_of

RULE = BallotRule(battles=3, at_close=2, catch_answers=1, catch_failures=1)
LETTERS = {
    "c": Outcome.CANDIDATE,
    "l": Outcome.LIVE,
    "t": Outcome.TIE,
    "b": Outcome.BOTH_BAD,
    "p": Outcome.CATCH_PASSED,
    "f": Outcome.CATCH_FAILED,
}
words = st.text(alphabet="".join(LETTERS), max_size=8)


def votes_of(voter: str, word: str) -> list[Vote]:
    return [Vote(voter, f"{voter}{number}", LETTERS[letter]) for number, letter in enumerate(word)]


@pytest.mark.parametrize(
    ("word", "share"),
    [
        ("pccc", Fraction(1)),
        ("clpt", Fraction(1, 2)),
        ("ctbp", Fraction(2, 3)),  # ties and "both bad" are half a point
        ("cccplllll", Fraction(1)),  # battles beyond the ballot's are not counted
        ("pcccf", Fraction(1)),  # what comes after a full ballot takes nothing back
    ],
)
def test_a_full_ballot_is_the_share_of_its_first_battles(word: str, share: Fraction) -> None:
    """Whatever follows."""
    ballots = ballots_of(votes_of("ann", word), RULE)
    assert [ballot.share for ballot in ballots.full] == [share]
    assert (ballots.at_close, ballots.held_out, ballots.waiting) == ((), (), 0)


@pytest.mark.parametrize("word", ["ccc", "cccccccc", "pcc", "p", "lt"])
def test_a_ballot_with_too_few_battles_or_no_catch_pair_waits(word: str) -> None:
    """So leaving catch pairs out gains nothing."""
    ballots = ballots_of(votes_of("ann", word), RULE)
    assert (ballots.full, ballots.held_out, ballots.waiting) == ((), (), 1)
    assert len(ballots.at_close) == (word == "pcc")  # enough at the close alone


@pytest.mark.parametrize("word", ["fccc", "cfcc", "cccf", "cf", "pfccc"])
def test_a_failed_catch_pair_holds_a_member_out(word: str) -> None:
    """Before or after the battles, and at the close as well; with a rule that allows one failure it does not."""
    ballots = ballots_of(votes_of("ann", word), RULE)
    assert (ballots.full, ballots.at_close, ballots.held_out) == ((), (), ("ann",))
    lenient = ballots_of(votes_of("ann", word), BallotRule(3, 1, 1, 2))
    assert lenient.held_out == ()
    assert len(lenient.full) + len(lenient.at_close) == 1


def test_a_second_vote_on_a_pair_does_not_count() -> None:
    """The first one stays."""
    votes = [Vote("ann", "x", Outcome.LIVE), Vote("ann", "x", Outcome.CANDIDATE)]
    votes += [Vote("ann", name, LETTERS[letter]) for name, letter in (("y", "l"), ("z", "l"), ("q", "p"))]
    assert ballots_of(votes, RULE).full[0].share == 0
    votes[1] = Vote("bob", "x", Outcome.CANDIDATE)  # another member's vote on it does
    assert ballots_of(votes, RULE).waiting == 1


@given(st.lists(words, max_size=6), st.randoms(use_true_random=False))
def test_members_do_not_disturb_each_other(texts: list[str], dice: random.Random) -> None:
    """Whatever the order between their votes is, shares and hold-outs stay, and so do those who wait."""
    alone = [votes_of(f"m{number}", text) for number, text in enumerate(texts)]
    order = [number for number, text in enumerate(texts) for _ in text]
    dice.shuffle(order)
    lines = [iter(votes) for votes in alone]
    together = ballots_of([next(lines[number]) for number in order], RULE)
    apart = [ballots_of(votes, RULE) for votes in alone]
    assert {b.voter: b.share for b in together.full} == {b.voter: b.share for each in apart for b in each.full}
    assert together.held_out == tuple(voter for each in apart for voter in each.held_out)
    assert together.waiting == sum(each.waiting for each in apart)
    assert [b.voter for b in together.at_close] == [b.voter for each in apart for b in each.at_close]


@given(st.lists(words, max_size=6), words)
def test_full_ballots_are_never_taken_back(texts: list[str], later: str) -> None:
    """Later votes only add to them."""
    votes = [vote for number, text in enumerate(texts) for vote in votes_of(f"m{number}", text)]
    before = ballots_of(votes, RULE).full
    more = [Vote("m0", f"later{number}", LETTERS[letter]) for number, letter in enumerate(later)]
    after = ballots_of([*votes, *more], RULE).full
    assert after[: len(before)] == before
