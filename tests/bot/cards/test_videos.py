"""The messages about a video: nothing is said to be done before it is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from bot.cards.videos import my_videos, progress_text, provenance_card, title, video_card, vote_answer
from bot.domain.rounds import Round
from bot.domain.videos import QueuePlace
from bot.domain.votes import Choice, Standing
from generation.jobs import Progress
from generation.prompt_words import PromptWords
from tests.bot.cards.test_results import text_of
from tests.bot.sync.test_view_counts import video

ROUND = cast(Round, SimpleNamespace(number=5))
VIDEO = replace(video(1), reason=None, cancel_requested=False, model_id="tiny")
STANDING = Standing(Choice.WITHDRAWN, True, 5, 7_000, "a prompt")


@pytest.mark.parametrize(
    ("status", "place", "words"),
    [
        ("queued", QueuePlace(0, 60.0), "Round 5: next in the queue, ready in about 60 s."),
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
