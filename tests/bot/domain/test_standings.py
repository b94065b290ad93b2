"""The standings: who is first, by the rule that the ledger applies too."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from bot.domain.standings import Entry, rank, unvoted, winner
from bot.domain.videos import Video, chain_key, seed_of
from bot.domain.votes import Choice, Tally, choice_of_emoji


def entry(name: str, up: int, down: int, *, chain_id: int | None = None, finished: int = 0) -> Entry:
    values: dict[str, Any] = {field.name: None for field in fields(Video)}
    values |= {"id": name, "chain_id": chain_id, "finished_at_ms": finished, "prompt": name}
    return Entry(Video(**values), Tally(up, down))


def names(*entries: Entry) -> list[str]:
    return [e.video.id for e in rank(entries)]


def test_the_net_score_decides_then_the_ups_then_who_was_recorded_first() -> None:
    """Three rules, in this order."""
    assert names(entry("a", 1, 0), entry("b", 3, 0)) == ["b", "a"]
    assert names(entry("a", 1, 0, chain_id=1), entry("b", 3, 2, chain_id=2)) == ["b", "a"]
    assert names(entry("a", 2, 1, chain_id=2), entry("b", 2, 1, chain_id=1)) == ["b", "a"]


def test_a_video_that_is_not_on_the_ledger_yet_comes_after_those_that_are() -> None:
    """It will get a higher number than theirs."""
    assert names(entry("late", 1, 0, finished=1), entry("early", 1, 0, chain_id=7, finished=2)) == ["early", "late"]
    assert names(entry("b", 1, 0, finished=2), entry("a", 1, 0, finished=1)) == ["a", "b"]


def test_the_taste_orders_what_nobody_has_voted_on_and_nothing_else() -> None:
    """By the score on the card; strange ones are none, and a video with a vote is never moved, however well liked."""

    def scored(name: str, score: object, up: int = 0, finished: int = 0) -> Entry:
        plain = entry(name, up, 0, finished=finished)
        return replace(plain, video=replace(plain.video, provenance={"best_of": {"score": score}}))

    liked, odd = (
        scored("liked", 2.5),
        [scored(f"odd {n}", each) for n, each in enumerate(("9", True, float("nan"), None))],
    )
    early, late = entry("early", 0, 0, finished=-2), scored("late", -1.5)
    entries = [entry("plain", 0, 0, finished=1), *odd, scored("voted", 9.0, up=1), late, liked, early]
    order = [each.video.id for each in unvoted(entries)]
    assert order[:3] == ["liked", "late", "early"]
    assert order[-1] == "plain"
    assert "voted" not in order
    assert names(scored("loved", 9.0), entry("a", 1, 0), scored("b", 5.0, up=2)) == ["b", "a", "loved"]
    assert winner([scored("loved", 9.0)]) is None


def test_without_votes_there_is_no_winner() -> None:
    """Not even a round of one; a single vote is enough, even one against."""
    assert winner([]) is None
    assert winner([entry("a", 0, 0)]) is None
    best = winner([entry("a", 0, 1), entry("b", 0, 0)])
    assert best is not None
    assert best.video.id == "b"


def test_ids_and_seeds_are_fixed() -> None:
    """The same video has the same seed and the same name on the ledger, on every machine; others differ."""
    assert seed_of("1") == seed_of("1") != seed_of("2")
    assert 0 <= seed_of("123456789012345678") < 2**31
    assert chain_key("video", "1") != chain_key("round", "1")
    assert len(chain_key("video", "1")) == 64


def test_thumbs_count_in_every_skin_tone_and_other_emoji_do_not() -> None:
    """👍🏿 is up; ❤️ is nothing."""
    assert choice_of_emoji("👍🏿") is Choice.UP
    assert choice_of_emoji("👎") is Choice.DOWN
    assert choice_of_emoji("❤️") is None
    assert choice_of_emoji("") is None
