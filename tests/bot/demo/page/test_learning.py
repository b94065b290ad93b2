"""What the panel knows of the learning loop, and what a browser shows of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import expect
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.server import DiscordConfig, EmbeddedDiscord
from bot.demo.page import learning
from bot.demo.page.learning import comparisons_of, file_of, keep_comparisons, look_at_learning
from bot.demo.page.server import Page
from bot.files.filmstrips import filmstrip_path
from migrations.states.learning import CandidateState
from tests.builders.battle_rounds import a_verdict
from tests.builders.releases import ADAPTER, a_candidate, a_release
from tests.chromium import needs_chromium, open_chromium

MP4 = b"\0\0\0\x18ftypisom not played in this test"
SENTENCE = "27 voters prefer <b>the candidate</b>."


async def test_nothing_is_shown_where_nothing_was_trained(database: AsyncEngine, tmp_path: Path) -> None:
    """And nothing of another model."""
    assert await look_at_learning(database, tmp_path, "tiny") is None
    await a_candidate(database, CandidateState.TRAINING, model_id="other")
    assert await look_at_learning(database, tmp_path, "tiny") is None


async def test_a_candidate_is_shown_without_a_release(database: AsyncEngine, tmp_path: Path) -> None:
    """With its state, and why it came to nothing."""
    made = await a_candidate(database, CandidateState.REJECTED, reason="Its guards were set off: motion.")
    facts = await look_at_learning(database, tmp_path, "tiny")
    assert facts is not None
    assert facts["release"] is None
    assert facts["candidate"] == {
        "number": made, "state": "rejected", "phase": None, "step": 0, "steps": 0, "pairs_made": 0, "pairs": 0,
        "reason": "Its guards were set off: motion.",
    }  # fmt: skip


async def test_a_release_is_shown_with_what_shaped_it(database: AsyncEngine, tmp_path: Path) -> None:
    """Its votes, its margin and the verdict's sentence; videos and filmstrip once there are some."""
    await a_release(database, verdict=a_verdict(reasons=(SENTENCE,)).to_json())
    facts = await look_at_learning(database, tmp_path, "tiny")
    assert facts is not None
    release = facts["release"]
    assert release is not None
    assert (release["number"], release["adapter"], release["votes"], release["rounds"]) == (1, ADAPTER, 312, 4)
    assert (release["voters"], release["win_rate"], release["low"], release["high"]) == (3, 0.611, 0.402, 0.79)
    assert release["sentence"] == SENTENCE
    assert (release["filmstrip"], release["comparisons"]) == (None, [])
    keep_comparisons(tmp_path, 1, [("a star", MP4, MP4 + b"!")])
    strip = filmstrip_path(tmp_path / "data", "tiny", 1)
    strip.parent.mkdir(parents=True)
    strip.write_bytes(b"png")
    facts = await look_at_learning(database, tmp_path, "tiny")
    assert facts is not None
    assert facts["release"] is not None
    assert facts["release"]["filmstrip"] == "/compared/tiny-1.png"
    [both] = facts["release"]["comparisons"]
    assert both == {"prompt": "a star", "before": "/compared/1-1-before.mp4", "after": "/compared/1-1-after.mp4"}


def test_only_kept_files_have_an_address(tmp_path: Path) -> None:
    """No other file of the state, whatever the name; a broken index is none."""
    keep_comparisons(tmp_path, 2, [("a star", MP4, MP4 + b"!")])
    assert file_of(tmp_path, "2-1-after.mp4") == tmp_path / "compared" / "2-1-after.mp4"
    (tmp_path / "demo.json").write_text("secret")
    (tmp_path / "data").mkdir()
    for name in ("2-2-after.mp4", "../demo.json", "..%2fdemo.json", "demo.json", "2-index.json", "", "/etc/passwd"):
        assert file_of(tmp_path, name) is None
    assert comparisons_of(tmp_path, 3) == []
    (tmp_path / "compared" / "3-index.json").write_text('[{"prompt": "half"}]')
    assert comparisons_of(tmp_path, 3) == []


RELEASE: dict[str, Any] = {
    "number": 1, "adapter": "ad" * 32, "votes": 270, "rounds": 1, "voters": 27, "win_rate": 0.71, "low": 0.6,
    "high": 0.8, "sentence": SENTENCE, "manifest": None, "filmstrip": None,
    "comparisons": [{
        "prompt": "<b>a star</b>", "before": "/compared/1-1-before.mp4", "after": "/compared/1-1-after.mp4",
    }],
}  # fmt: skip
CANDIDATE = {
    "number": 1, "state": "released", "phase": None, "step": 0, "steps": 0, "pairs_made": 0, "pairs": 0, "reason": None,
}  # fmt: skip


class Shown:
    """A page whose panel shows what it is given."""

    def __init__(self, state: Path) -> None:
        self.facts: dict[str, Any] = {"learning": None}
        self.page = Page("a-visitor's", self.look, state)
        config = DiscordConfig(state=state / "discord", bot_token="bot-token", control_token="control-token")
        self.discord = EmbeddedDiscord(config)

    async def look(self) -> Any:
        return {"processes": {}, "queue": [], "assets": [], "chain": None, "round": None, **self.facts}


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[Shown]:
    shown = Shown(tmp_path)
    await shown.discord.start()
    await shown.page.start()
    shown.page.show_discord(f"http://127.0.0.1:{shown.discord.port}", "control-token")
    yield shown
    await shown.page.close()
    await shown.discord.close()


async def test_kept_videos_are_served_and_nothing_else(shown: Shown, tmp_path: Path) -> None:
    """In ranges, as players ask; a name that is not there is not found."""
    keep_comparisons(tmp_path, 1, [("a star", MP4, MP4 + b"!")])
    (tmp_path / "demo.json").write_text("secret")
    base = f"http://127.0.0.1:{shown.page.port}"
    async with httpx.AsyncClient() as client:
        whole = await client.get(f"{base}{learning.PATH}1-1-after.mp4")
        part = await client.get(f"{base}{learning.PATH}1-1-after.mp4", headers={"Range": "bytes=4-7"})
        assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, MP4 + b"!", "video/mp4")
        assert (part.status_code, part.content) == (206, b"ftyp")
        for name in ("1-2-after.mp4", "..%2fdemo.json", "demo.json", "1-index.json"):
            assert (await client.get(f"{base}{learning.PATH}{name}")).status_code == 404


@needs_chromium
async def test_a_visitor_sees_before_and_after_side_by_side(shown: Shown, tmp_path: Path) -> None:
    """With what shaped the release and the verdict's words as they are; nothing of it before anything is trained."""
    keep_comparisons(tmp_path, 1, [("<b>a star</b>", MP4, MP4 + b"!")])
    async with open_chromium() as browser:
        window = await browser.new_page()
        await window.goto(shown.page.link)
        panel = window.locator("#behind")
        await expect(panel.get_by_text("7 · Result")).to_be_visible()
        await expect(panel.get_by_text("8 · Learn")).to_have_count(0)
        await expect(panel.locator(".release")).to_have_count(0)

        training = {**CANDIDATE, "state": "training", "phase": "training", "step": 30, "steps": 150}
        shown.facts = {"learning": {"candidate": training, "release": None}}
        await expect(panel.locator("[data-step=learn]")).to_contain_text("it learns from the votes, 30 of 150")
        await expect(panel.locator(".release")).to_have_count(0)

        shown.facts = {"learning": {"candidate": CANDIDATE, "release": RELEASE}}
        release = panel.locator(".release")
        await expect(release.get_by_role("heading", name="Release 1")).to_be_visible()
        videos = release.locator("video")
        await expect(videos).to_have_count(2)
        sources = [await videos.nth(place).get_attribute("src") for place in range(2)]
        assert sources == ["/compared/1-1-before.mp4", "/compared/1-1-after.mp4"]
        boxes = [await videos.nth(place).bounding_box() for place in range(2)]
        assert boxes[0] is not None
        assert boxes[1] is not None
        assert boxes[0]["y"] == boxes[1]["y"]
        assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
        await expect(release).to_contain_text(SENTENCE)
        await expect(release).to_contain_text("<b>a star</b>")
        await expect(release).to_contain_text("Learned from 270 votes of one round. Won 71\u00a0% of its battles")

        refused = {**CANDIDATE, "state": "rejected", "reason": "Its motion fell."}
        shown.facts = {"learning": {"candidate": refused, "release": None}}
        await expect(panel.locator("[data-step=learn]")).to_contain_text("Its motion fell.")
        await expect(panel.locator(".release")).to_have_count(0)


@needs_chromium
async def test_a_release_without_videos_has_its_filmstrip(shown: Shown, tmp_path: Path) -> None:
    """The picture is served by the page itself."""
    strip = filmstrip_path(tmp_path / "data", "tiny", 1)
    strip.parent.mkdir(parents=True)
    strip.write_bytes(b"\x89PNG\r\n\x1a\n")
    bare = {**RELEASE, "comparisons": [], "filmstrip": f"{learning.PATH}{strip.name}"}
    shown.facts = {"learning": {"candidate": CANDIDATE, "release": bare}}
    async with open_chromium() as browser:
        window = await browser.new_page()
        async with window.expect_response(lambda response: response.url.endswith("/compared/tiny-1.png")) as got:
            await window.goto(shown.page.link)
        assert (await got.value).status == 200
        await expect(window.locator(".release img")).to_have_count(1)
        await expect(window.locator(".release video")).to_have_count(0)
