"""The result of a round, as members read it: whose tally it is, and why it is not the one that they read before."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.cards import results as result_cards
from bot.cards import videos as video_cards
from bot.domain.rounds import Round
from bot.domain.standings import Entry, Outcome, final_outcome, winner
from bot.domain.votes import Choice, Standing, Tally
from contracts.outbox.entries import text_hash
from tests.bot.sync.test_view_counts import video

ROUND = cast(Round, SimpleNamespace(id=5, number=5, task="weather", status="closed", closes_at_ms=7_000, chain_id=None))
ON_LEDGER = cast(Round, SimpleNamespace(**{**vars(ROUND), "chain_id": 3}))
A, B = (Entry(video(n, status="published", chain_id=1024 + n), Tally(up=n, down=0)) for n in (1, 2))
REMOVED = Entry(replace(B.video, status="removed"), B.tally)
COUNTED = Outcome([A, B], B)
BY_LEDGER = final_outcome([A, B], {"1": Tally(1, 0), "2": Tally(0, 0)}, "1", rejected=2, source="ledger")


def nodes(view: Any) -> list[dict[str, Any]]:
    """Every component of a card."""
    found: list[dict[str, Any]] = []

    def walk(component: dict[str, Any]) -> None:
        found.append(component)
        for child in component.get("components", []):
            walk(child)

    for component in view.to_components():
        walk(component)
    return found


def text_of(view: Any) -> str:
    texts: list[str] = []

    def walk(component: Any) -> None:
        texts.append(str(component.get("content", "")))
        for child in component.get("components", []):
            walk(child)

    for component in view.to_components():
        walk(component)
    return "\n".join(texts)


def result(outcome: Outcome) -> str:
    return text_of(result_cards.result_card(ROUND, outcome, "the chain's sentence"))


def test_what_is_counted_here_is_called_so() -> None:
    """It is not called final, and explains nothing."""
    text = result(COUNTED)
    assert "🏆 **\u2068video 2\u2069** by <@4>, with 👍 2 and 👎 0" in text
    assert "Preliminary tally\n1. [\u2068video 2" in text
    assert "the chain's sentence" in text
    assert "Final" not in text
    assert "⚠️" not in text


def test_the_ledgers_tally_is_the_final_one_and_its_winner_wins() -> None:
    """With how many votes were refused, and who had won without that; by what is shown, nobody is named."""
    text = result(BY_LEDGER)
    assert "🏆 **\u2068video 1\u2069** by <@4>, with 👍 1 and 👎 0" in text
    assert "**Final tally** on the ledger\n1. [\u2068video 1" in text
    assert "2 votes were rejected by the ledger; `/receipt round:5` shows which of yours." in text
    assert "By the preliminary tally, **\u2068video 2\u2069** had won." in text


def test_a_final_result_shows_what_an_audit_shows() -> None:
    """The round and its winner as the ledger numbers them, votes and file; a preliminary result has none."""
    file = "ab" * 32
    entry = replace(A, video=replace(A.video, sha256=file))
    outcome = final_outcome([entry, B], {"1": Tally(1, 0), "2": Tally(0, 0)}, "1", rejected=0, source="ledger")
    shown = text_of(result_cards.result_card(ON_LEDGER, outcome, "the chain's sentence"))
    assert f"-# To compare: round 3, winner 1025 with 👍 1 👎 0, content `{file}`" in shown.splitlines()
    nobody = Outcome([A], None, "ledger")
    shown = text_of(result_cards.result_card(ON_LEDGER, nobody, "the chain's sentence"))
    assert "-# To compare: round 3, without a winner" in shown.splitlines()
    removed = Outcome([A, REMOVED], REMOVED, "ledger")
    assert f"winner {B.video.chain_id}" in text_of(result_cards.result_card(ON_LEDGER, removed, "the chain's sentence"))
    for round_, preliminary in ((ON_LEDGER, COUNTED), (ROUND, BY_LEDGER)):
        assert "To compare" not in text_of(result_cards.result_card(round_, preliminary, "the chain's sentence"))


def test_the_details_have_the_hash_of_the_task() -> None:
    """With which the round was opened on the ledger."""
    assert text_hash("weather") in text_of(result_cards.details_card(ROUND, "transaction `0x12`"))


def test_a_result_that_is_the_same_needs_no_explanation() -> None:
    """The ledger took every vote: final, and nothing more to say."""
    same = final_outcome([A, B], {"1": A.tally, "2": B.tally}, "2", rejected=0, source="ledger")
    text = result(same)
    assert "Final tally" in text
    assert "⚠️" not in text
    assert "had won" not in text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (replace(BY_LEDGER, rejected=1), "One vote was rejected by the ledger"),
        (
            final_outcome([A, B], {"2": B.tally}, "2", rejected=0, source="ledger"),
            "One posted video is not on the ledger",
        ),
        (
            final_outcome([A, B], {"1": A.tally, "2": Tally(3, 0)}, "2", rejected=0, source="ledger"),
            "The ledger's tally differs from the preliminary tally",
        ),
        (replace(BY_LEDGER, source="record"), "from our record of the ledger, which can't be read right now"),
        (
            final_outcome([A], {"1": Tally(0, 0)}, None, rejected=1, source="ledger"),
            "closed\nNo vote reached the ledger, so there is no winner",
        ),
        (Outcome([replace(A, tally=Tally(0, 0))], None), "closed\nNobody voted, so there is no winner."),
        (Outcome([], None), "closed\nNo video was posted in this round, so there is no winner."),
        (Outcome([REMOVED], REMOVED), "closed\nA moderator removed the winner, and nobody voted for another video."),
    ],
    ids=["one vote", "a video", "who knows why", "away", "no vote", "nobody voted", "no video", "removed"],
)
def test_each_difference_has_its_sentence(outcome: Outcome, words: str) -> None:
    """Also in the standings, as far as it is about the videos."""
    assert words in result(outcome)
    if outcome.final:
        standings = text_of(result_cards.standings_card(ROUND, outcome))
        assert "Final tally" in standings
        assert ("⚠️" in standings) is ("⚠️" in result(outcome))


def test_a_video_that_is_not_on_the_ledger_has_no_rank_there() -> None:
    """However many votes it had here: none of them count."""
    outcome = final_outcome([A, B], {"1": A.tally}, "1", rejected=2, source="ledger")
    assert [entry.video.id for entry in outcome.entries] == ["1"]
    assert "video 2" not in result(outcome).split("⚠️")[0]


def test_a_removed_winner_is_not_shown() -> None:
    """The next one is; only of a final result it is said that the ledger names the removed one."""
    gone = Entry(replace(B.video, status="removed"), B.tally)
    counted = result(Outcome([A, gone], gone))
    assert "🏆 **\u2068video 1" in counted
    assert "By these votes, the winner is a video that a moderator removed." in counted
    final = result(final_outcome([A, gone], {"1": A.tally, "2": B.tally}, "2", rejected=0, source="ledger"))
    assert "The winner on the ledger is a video that a moderator removed" in final
    changed = result(final_outcome([A, gone], {"1": A.tally, "2": Tally(0, 0)}, "1", rejected=2, source="ledger"))
    assert "By the preliminary tally, **a video that a moderator removed** had won." in changed
    assert not any("video 2" in text for text in (counted, final, changed))


def test_a_result_shows_the_winners_video_and_hides_hashes_behind_a_button() -> None:
    """Without a video that can be played, it says where to look; without a winner there is none."""
    shown = result_cards.result_card(ROUND, COUNTED, "the chain's sentence", "attachment://a.mp4")
    galleries = [each for each in nodes(shown) if "items" in each]
    assert [item["media"]["url"] for each in galleries for item in each["items"]] == ["attachment://a.mp4"]
    assert "✨ AI-generated · See [its card](https://discord.com/channels/" in text_of(shown)
    assert "can't be played" not in text_of(shown)
    assert [(each["label"], each["custom_id"]) for each in nodes(shown) if "custom_id" in each] == [
        ("Details", "s1:details:5")
    ]
    gone = result_cards.result_card(ROUND, COUNTED, "the chain's sentence")
    assert not [each for each in nodes(gone) if "items" in each]
    assert "The video can't be played here. See [its card](https://discord.com/channels/" in text_of(gone)
    nobody = result_cards.result_card(ROUND, Outcome([], None), "the chain's sentence")
    assert not [each for each in nodes(nobody) if "items" in each]
    assert "AI-generated" not in text_of(nobody)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Tally(2, 0), "It was a tie: of videos with the same votes, the one posted first wins."),
        (Tally(3, 1), "It was close: of videos with the same score, the one with more 👍 wins."),
        (Tally(1, 0), None),
    ],
    ids=["a tie", "the same score", "clear"],
)
def test_a_tie_is_explained(other: Tally, words: str | None) -> None:
    """By the rule that decided it; where one video is clearly ahead, nothing is explained."""
    entries = [replace(A, tally=other), B]
    text = result(Outcome(entries, winner(entries)))
    assert words is None or words in text
    assert ("It was" in text) is (words is not None)


def test_the_details_name_the_ledgers_sentence() -> None:
    text = text_of(result_cards.details_card(ROUND, "transaction `0x12`"))
    assert "### Round 5 on the ledger\ntransaction `0x12`" in text
    assert "`/receipt round:5` shows your own votes." in text


def test_an_open_round_has_standings_without_a_word_of_the_ledger() -> None:
    """Only when it closes."""
    text = text_of(result_cards.standings_card(cast(Round, replace_status("open")), COUNTED))
    assert "closes <t:7:R>" in text
    assert "Preliminary" not in text
    assert "closed · Preliminary tally" in text_of(result_cards.standings_card(ROUND, COUNTED))


def test_an_open_round_names_videos_without_a_vote() -> None:
    """Three of them, those first that the taste likes best; none once it is closed, nor where each has a vote."""
    scores = {3: 0.5, 4: 2.0, 5: None, 6: -1.0}
    new = [
        Entry(replace(video(n, status="published"), provenance={"best_of": {"score": score}}), Tally(0, 0))
        for n, score in scores.items()
    ]
    outcome = Outcome([A, B, *new], B)
    text = text_of(result_cards.standings_card(cast(Round, replace_status("open")), outcome))
    [line] = [line for line in text.splitlines() if "Nobody has voted on these yet" in line]
    assert [line.index(f"video {n}") for n in (4, 3, 6)] == sorted(line.index(f"video {n}") for n in (3, 4, 6))
    assert line.endswith("and 1 more")
    assert "video 1" not in line
    assert "Nobody has voted" not in text_of(result_cards.standings_card(ROUND, outcome))
    assert "Nobody has voted" not in text_of(result_cards.standings_card(cast(Round, replace_status("open")), COUNTED))


def replace_status(status: str) -> Any:
    return SimpleNamespace(**{**vars(ROUND), "status": status})


def test_the_winner_by_the_ledger_is_the_winner_by_its_tallies() -> None:
    """Its rule and ours are one; where it names nobody, nobody wins."""
    assert BY_LEDGER.best == winner(BY_LEDGER.entries)
    assert final_outcome([A, B], {"1": Tally(0, 0), "2": Tally(0, 0)}, None, rejected=3, source="ledger").best is None


def test_a_member_reads_what_was_refused_of_theirs() -> None:
    """By rounds, with the reason and where to look."""
    text = text_of(result_cards.rejected_note([(3, 2, "It came late."), (4, 1, "It was over.")]))
    assert "rejected 2 of your votes in round 3: It came late. `/receipt round:3` shows which." in text
    assert "rejected one of your votes in round 4: It was over. `/receipt round:4` shows which." in text


@pytest.mark.parametrize(
    ("seconds", "words"), [(39.0, "in about a minute"), (14.0, "in about a minute"), (200.0, "in about 3 minutes")]
)
def test_an_acknowledged_vote_says_when_it_is_on_the_chain(seconds: float, words: str) -> None:
    """Recorded at once, on the chain later; a vote that was taken back promises nothing."""
    standing = Standing(Choice.UP, True, 5, 7_000, "a prompt")
    text = text_of(video_cards.vote_answer(standing, "1", seconds))
    assert "Recorded: your vote" in text
    assert f"It will be on the ledger {words}; `/receipt` shows where." in text
    assert "ledger" not in text_of(video_cards.vote_answer(replace(standing, choice=Choice.WITHDRAWN), "1", seconds))
