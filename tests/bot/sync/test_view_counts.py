"""Views: told where the host tells them in time, and never in anybody's way."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any, cast

import pytest

from bot.cards import results as result_cards
from bot.domain.rounds import Round
from bot.domain.standings import Entry, rank
from bot.domain.videos import Video
from bot.domain.votes import Tally
from bot.sync import view_counts as views
from generation.hosting.host import HostUnreachable


def video(number: int, **more: Any) -> Video:
    values: dict[str, Any] = {field.name: None for field in fields(Video)}
    known = {"id": str(number), "prompt": f"video {number}", "playback_id": f"p{number}", "page_url": "https://p/x"}
    return Video(**{**values, **known, "guild_id": 1, "thread_id": 2, "message_id": 3, "member_id": 4, **more})


class Host:
    """Counts as it is told to: a number, None, an error, or silence."""

    def __init__(self, **counts: Any) -> None:
        self.counts, self.asked = counts, 0

    async def views(self, playback_id: str) -> int | None:
        self.asked += 1
        count = self.counts[playback_id]
        if count == "silence":
            await asyncio.Event().wait()
        if isinstance(count, Exception):
            raise count
        return cast("int | None", count)


def of(host: Host) -> views.ViewCounts:
    return views.ViewCounts(cast(Any, host))


async def test_what_is_known_is_told_and_remembered() -> None:
    """One that counts none, one that is away and one that does not answer leave the others alone."""
    host = Host(p1=7, p2=None, p3=HostUnreachable("away"), p4="silence")
    known = of(host)
    everything = [video(number) for number in range(1, 5)]
    assert await known.of(everything) == {"1": 7}
    assert host.asked == 4
    assert await known.of(everything[:2]) == {"1": 7}
    assert host.asked == 4  # both are fresh
    assert await known.of([video(5, playback_id=None), video(6, page_url=None)]) == {}


async def test_an_old_count_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After five minutes; an outage leaves the old one standing."""
    host = Host(p1=7)
    known = of(host)
    await known.of([video(1)])
    monkeypatch.setattr(views, "FRESH_S", 0.0)
    host.counts["p1"] = 8
    assert await known.of([video(1)]) == {"1": 8}
    host.counts["p1"] = HostUnreachable("away")
    assert await known.of([video(1)]) == {"1": 8}


def test_views_stand_beside_the_votes_and_change_no_rank() -> None:
    """The most watched is not the best; without views there is no word of them."""
    entries = [Entry(video(1), Tally(up=2, down=0)), Entry(video(2), Tally(up=1, down=0))]
    ranked = rank(entries)
    text = result_cards.standings_text(cast(Round, None), ranked, {"2": 1000})
    assert text.index("video 1") < text.index("video 2") < text.index("▶ 1000")
    assert "don't affect the ranking" in text
    assert "▶" not in result_cards.standings_text(cast(Round, None), ranked)
    assert "▶" not in result_cards.standings_text(cast(Round, None), ranked, {})
