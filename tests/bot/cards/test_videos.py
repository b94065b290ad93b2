"""The messages about a video: nothing is said to be done before it is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.cards.videos import my_videos, progress_text, provenance_card, title, video_card, vote_answer, votes_line
from bot.domain.rounds import Round
from bot.domain.videos import QueuePlace
from bot.domain.votes import CardVotes, Choice, Standing, Tally
from generation.jobs import Progress
from generation.prompt_words import PromptWords
from tests.bot.cards.test_results import text_of
from tests.bot.sync.test_view_counts import video

ROUND = cast(Round, SimpleNamespace(number=5, status="open"))
CLOSED = cast(
    Round,
    SimpleNamespace(number=5, status="closed", guild_id=1, channel_id=2, result_message_id=3, announcement_id=4),
)
VIDEO = replace(video(1), reason=None, cancel_requested=False, model_id="tiny")
STANDING = Standing(Choice.WITHDRAWN, True, 5, 7_000, "a prompt")


@pytest.mark.parametrize(
    ("status", "place", "words"),
    [
        ("queued", QueuePlace(0, 60.0), "Round 5: next in the queue, rendered in about 60 s."),
        (
            "queued",
            QueuePlace(0, None),
            "next in the queue. How long it takes is known after this model's first video.",
        ),
        ("queued", QueuePlace(2, 60.0), "number 3 in the queue"),
        (
            "queued",
            QueuePlace(0, 60.0, served=False),
            "is online. Your prompt stays in the queue and starts as",
        ),
        ("rendering", None, "A worker has started on your video."),
        ("uploading", None, "is being uploaded"),
        ("hosting", None, "The host is preparing the video."),
        ("posting", None, "is being posted"),
        ("published", None, "your video is up for votes: https://discord.com/channels/"),
        ("failed", None, "could not be made. It doesn't count towards your limit. Try again with `/prompt`."),
        ("cancelled", None, "🚫 Cancelled."),
        ("removed", None, "a moderator removed your video"),
    ],
)
def test_each_status_has_its_sentence(status: str, place: QueuePlace | None, words: str) -> None:
    text = progress_text(replace(VIDEO, status=status), ROUND, place, None)
    assert words in text
    assert ("video 1" in text) is (status != "removed")


def test_a_video_of_a_closed_round_is_no_longer_up_for_votes() -> None:
    """What ended otherwise keeps its sentence."""
    text = progress_text(replace(VIDEO, status="published"), CLOSED, None, None)
    assert "🏁 Round 5 is closed. Your video took part: https://discord.com/channels/" in text
    assert "up for votes" not in text
    assert "Try again with" in progress_text(replace(VIDEO, status="failed"), CLOSED, None, None)


def buttons_of(view: Any) -> list[str]:
    return [button["label"] for row in view.to_components()[0]["components"] for button in row.get("components", [])]


def test_the_card_of_a_closed_round_takes_no_votes() -> None:
    """It keeps the other buttons, and links the result; the card of an open round has all of them."""
    closed = video_card(VIDEO, "attachment://a.mp4", closed=CLOSED)
    assert buttons_of(closed) == ["Feedback", "Report"]
    assert "🏁 Round 5 is closed · [See the result](https://discord.com/channels/1/2/3)" in text_of(closed)
    open_ = video_card(VIDEO, "attachment://a.mp4")
    assert buttons_of(open_) == ["Up", "Down", "Feedback", "Report"]
    assert "closed" not in text_of(open_)


def test_progress_is_a_bar_with_the_time_that_is_left() -> None:
    text = progress_text(replace(VIDEO, status="rendering"), ROUND, None, Progress("denoising", 5, 10, 30.0))
    assert f"Rendering {'▰' * 8}{'▱' * 8} · about 30 s left" in text


def test_a_members_known_words_are_in_progress_and_provenance() -> None:
    """While it is made, once it is posted, and in the answer to `/provenance`; without a word of it where none came."""
    told = Progress("denoising", 5, 10, 30.0, PromptWords([[0, 5]], [[6, 7]], "colours", "red").to_json())
    for status in ("rendering", "published"):
        text = progress_text(replace(VIDEO, status=status), ROUND, None, told)
        assert "\nI know: **\u2068video\u2069**\n-# I don't know: \u20681\u2069\n" in text
        assert "I know" not in progress_text(replace(VIDEO, status=status), ROUND, None, replace(told, words=None))
    posted = replace(VIDEO, provenance={"seed": 1})
    assert "I know: **\u2068video\u2069**" in text_of(provenance_card(posted, "attachment://a.json", told))
    assert "I know" not in text_of(provenance_card(posted, "attachment://a.json"))
    assert "I know" not in progress_text(replace(VIDEO, status="removed"), ROUND, None, told)


def test_a_vote_is_withdrawn_only_where_there_was_one() -> None:
    """Both answers say when voting closes."""
    assert "Your vote on **\u2068a prompt\u2069** is withdrawn. Voting closes <t:7:R>." in text_of(
        vote_answer(STANDING, "1", 14.0)
    )
    assert "You have no vote on **\u2068a prompt\u2069**. Voting closes <t:7:R>." in text_of(
        vote_answer(replace(STANDING, changed=False), "1", 14.0)
    )


def test_a_card_names_the_author_and_the_host() -> None:
    hosted = replace(VIDEO, page_url="https://host.example/1")
    assert "Requested by <@4> · [Watch on Livepeer](https://host.example/1) · ✨ AI-generated" in text_of(
        video_card(hosted, "attachment://a.mp4")
    )
    bare = replace(VIDEO, page_url=None, playback_url=None)
    assert "Requested by <@4> · ✨ AI-generated" in text_of(video_card(bare, "attachment://a.mp4"))


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        (CardVotes(), "No votes yet"),
        (CardVotes(Tally(1, 0)), "**1 vote**"),
        (CardVotes(Tally(1_004, 1), underway=1_005), "**1,005 votes**"),
        (CardVotes(Tally(4, 1), on_ledger=3, underway=2), "**5 votes** · 3 on the ledger"),
        (CardVotes(Tally(4, 1), on_ledger=5), "**5 votes** · ✓ on the ledger"),
        (CardVotes(Tally(4, 1), on_ledger=5, underway=1), "**5 votes** · 5 on the ledger"),  # a withdrawal is not there
        (CardVotes(Tally(4, 1), on_ledger=4), "**5 votes** · 4 on the ledger"),  # it rejected the fifth
        (CardVotes(Tally(4, 1), on_ledger=5, hidden=False), "👍 **4** · 👎 **1** · ✓ on the ledger"),
        (CardVotes(Tally(4, 1), hidden=False), "👍 **4** · 👎 **1**"),
        (CardVotes(Tally(0, 0), underway=1), "No votes yet"),
        (CardVotes(hidden=False), "No votes"),
    ],
)
def test_a_card_says_how_many_voted_and_what_the_ledger_has(votes: CardVotes, words: str) -> None:
    """The tick stands for all of them; who leads is hidden until it may be seen."""
    assert votes_line(votes) == words
    assert words in text_of(video_card(VIDEO, "attachment://a.mp4", votes=votes)).splitlines()


def test_a_removed_video_has_no_title() -> None:
    assert title(replace(VIDEO, status="removed")) == "a video that a moderator removed"
    assert "video 1" in title(VIDEO)


def test_a_list_of_videos_tells_how_each_stands() -> None:
    assert "You haven't asked for a video yet." in text_of(my_videos([]))
    texts = text_of(my_videos([replace(VIDEO, status="removed", reason="**loud**"), replace(VIDEO, status="posting")]))
    assert "removed by a moderator: \u2068\\*\\*loud\\*\\*\u2069" in texts
    assert "posting" in texts


def test_what_a_worker_wrote_is_quoted() -> None:
    """A provenance card is not trusted: markup in it stays text, odd parts are left out."""
    card = {"model": {"id": "**m**", "revision": "a`b", "adapters": "none"}, "settings": 3, "seed": "1) [x](y)"}
    text = text_of(provenance_card(replace(VIDEO, provenance=card), "attachment://a.json"))
    assert "\\*\\*m\\*\\*" in text
    assert "at `ab`" in text
    assert "seed `1xy`" in text
    assert "Not signed" in text
