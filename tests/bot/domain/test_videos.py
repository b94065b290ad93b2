"""A video: its states, and the names that its id fixes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.domain.videos import CANCELLABLE, OVER, UNDER_WAY, chain_key, seed_of
from migrations.states.community import VideoStatus
from tests.bot.sync.test_view_counts import video


def test_a_video_is_under_way_or_over() -> None:
    """Each state is one of the two, and only what is under way can be cancelled."""
    assert {*UNDER_WAY} | {*OVER} == set(VideoStatus)
    assert not {*UNDER_WAY} & {*OVER}
    assert {*CANCELLABLE} < {*UNDER_WAY}


@pytest.mark.parametrize("status", VideoStatus)
def test_a_cancel_button_stands_only_where_it_makes_sense(status: VideoStatus) -> None:
    """Not while the video is being posted, not afterwards, and not twice."""
    asked = replace(video(1), status=status, cancel_requested=False)
    assert asked.cancellable is (status in CANCELLABLE)
    assert not replace(asked, cancel_requested=True).cancellable


def test_a_link_is_the_page_or_else_the_file() -> None:
    hosted = replace(video(1), page_url="https://a.b/page", playback_url="https://a.b/file.mp4")
    assert hosted.link == "https://a.b/page"
    assert replace(hosted, page_url=None).link == "https://a.b/file.mp4"
    assert replace(hosted, page_url=None, playback_url=None).link is None


def test_names_are_fixed_by_the_id() -> None:
    """The same id gives the same key and seed; another kind or id gives others."""
    assert chain_key("video", "1") == chain_key("video", "1") != chain_key("video", "2")
    assert chain_key("video", "1") != chain_key("round", "1")
    assert len(bytes.fromhex(chain_key("video", "1"))) == 32
    assert seed_of("1") == seed_of("1") != seed_of("2")
    assert 0 <= seed_of("1") < 1 << 31
    assert replace(video(1), prompt="x" * 200).asset_name == "x" * 80 + " · flock-1"
