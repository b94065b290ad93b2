"""The moving picture of README: ten seconds of the demo's page, recorded in a real headless Chromium.

The recorder leans on the page's roles and labels alone: the navigation "Channels", the chooser "You are", the field
"Message", a message as an article, a card's button "Up". It learns from database and ledger, not from the page's words,
when a scene is over. A scene that took longer than its share of the ten seconds is shown faster.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from playwright.async_api import Browser, CDPSession, Locator, expect
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page as Window
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.people import Person, wait_for
from bot.demo.discord.world import MODERATOR
from bot.demo.page.server import Page
from bot.demo.story import Story
from bot.demo.terminal import Terminal
from bot.domain.videos import Video
from bot.store import videos
from contracts.ledger.client import Ledger
from migrations.database import open_database
from migrations.states.community import VideoStatus

VISITOR = "emi"
PROMPT = "a yellow star jumps up and down at night"
SIZE = {"width": 1040, "height": 640}  # of the window
WIDTH = 880  # of the picture
STRIP = 40  # the height of the line below it that names the scenes
FRAMES_A_SECOND = 10
MOST_BYTES = 3_000_000
PATIENT_S = 240.0
SCENES = (("prompt", 2.2), ("progress", 1.8), ("play", 1.8), ("vote", 1.2), ("ledger", 1.2), ("result", 1.8))


@dataclass
class Film:
    """Frames as they came, with their times, and the times at which the scenes began and ended."""

    frames: list[tuple[float, bytes]] = field(default_factory=list)
    scenes: dict[str, tuple[float, float]] = field(default_factory=dict)

    @asynccontextmanager
    async def scene(self, name: str) -> AsyncIterator[None]:
        """Note the time of a scene."""
        begin = time.monotonic()
        yield
        self.scenes[name] = (begin, time.monotonic())

    def at(self, moment: float) -> bytes:
        """Return the frame that was on the screen at a moment."""
        earlier = [picture for when, picture in self.frames if when <= moment]
        return earlier[-1] if earlier else self.frames[0][1]

    def cut(self) -> list[tuple[str, bytes]]:
        """Return the frames of the picture, each with its scene: every scene gets its share of the time."""
        shots = []
        for name, seconds in SCENES:
            begin, end = self.scenes[name]
            count = round(seconds * FRAMES_A_SECOND)
            shots += [(name, self.at(begin + (end - begin) * number / (count - 1))) for number in range(count)]
        return shots


def write(shots: Sequence[tuple[str, bytes]], path: Path) -> None:
    """Write the frames as an animated WebP that repeats for ever; equal neighbours become one longer frame."""
    pictures: list[Image.Image] = []
    durations: list[int] = []
    for number, shot in enumerate(shots):
        if number and shot == shots[number - 1]:
            durations[-1] += 1000 // FRAMES_A_SECOND
            continue
        pictures.append(_drawn(*shot))
        durations.append(1000 // FRAMES_A_SECOND)
    first, *rest = pictures
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, quality=72, method=4)


def _drawn(scene: str, png: bytes) -> Image.Image:
    """Return a frame of the picture: the page, and below it the names of the scenes, the present one bright."""
    page = Image.open(io.BytesIO(png)).convert("RGB")
    height = round(page.height * WIDTH / page.width)
    picture = Image.new("RGB", (WIDTH, height + STRIP), (24, 25, 28))
    picture.paste(page.resize((WIDTH, height), Image.Resampling.LANCZOS), (0, 0))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=19)
    share = WIDTH / len(SCENES)
    for number, (name, _) in enumerate(SCENES):
        colour = (255, 255, 255) if name == scene else (122, 126, 135)
        middle = (round(share * (number + 0.5)), height + STRIP // 2)
        draw.text(middle, name, fill=colour, font=font, anchor="mm")
        if name == scene:
            draw.rectangle(
                (round(share * number), height, round(share * (number + 1)), height + 3), fill=(88, 101, 242)
            )
    return picture


@dataclass(frozen=True)
class Figures:
    """The figures of a moving picture that a reader's browser cares about."""

    seconds: float
    frames: int
    width: int
    repeats: bool
    bytes: int


def figures(path: Path) -> Figures:
    """Return the figures of a moving picture."""
    with Image.open(path) as picture:
        count = getattr(picture, "n_frames", 1)
        milliseconds = 0
        for number in range(count):
            picture.seek(number)
            picture.load()
            milliseconds += picture.info.get("duration", 0)
        loops = picture.info.get("loop") == 0
        return Figures(milliseconds / 1000, count, picture.width, loops, path.stat().st_size)


def faults(made: Figures) -> list[str]:
    """Return the reasons for which a picture cannot stand in README."""
    rules = {
        "it does not last ten seconds": 9.5 <= made.seconds <= 10.5,
        "it hardly moves": made.frames >= 40,
        "it is wider than README": made.width <= 900,
        "it stops": made.repeats,
        "it is too large": made.bytes <= MOST_BYTES,
    }
    return [fault for fault, good in rules.items() if not good]


# ---------------------------------------------------------------------------- recording


@asynccontextmanager
async def recording(window: Window, film: Film) -> AsyncIterator[None]:
    """Collect what the window shows meanwhile, frame by frame."""
    session = await window.context.new_cdp_session(window)
    tasks: set[asyncio.Task[Any]] = set()

    def keep(event: dict[str, Any]) -> None:
        film.frames.append((time.monotonic(), base64.b64decode(event["data"])))
        task = asyncio.ensure_future(_acknowledge(session, event["sessionId"]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    session.on("Page.screencastFrame", keep)
    await session.send("Page.startScreencast", {"format": "png", "everyNthFrame": 1})
    try:
        yield
    finally:
        await session.send("Page.stopScreencast")
        await asyncio.gather(*tasks)


async def _acknowledge(session: CDPSession, number: int) -> None:
    with contextlib.suppress(PlaywrightError):  # the window may be gone; then nobody waits for it
        await session.send("Page.screencastFrameAck", {"sessionId": number})


async def record(browser: Browser, page: Page, story: Story) -> Film:
    """Return the film of a visitor's first minute: a round is open, and two videos of others are in its thread."""
    film = Film()
    database = open_database(story.stack.database_url)
    try:
        await story.wait_for_bot(database)
        await story.open_round(database)
        await story.make_videos(database)
        window = await visit(browser, page, VISITOR, SIZE)
        await _go_to(window, re.compile("Round 1"))
        async with recording(window, film):
            await _scenes(film, window, story, database)
    finally:
        await database.dispose()
    return film


async def visit(browser: Browser, page: Page, member: str, size: dict[str, int]) -> Window:
    """Open the page in a window of its own, as a member."""
    context = await browser.new_context(viewport={"width": size["width"], "height": size["height"]})
    window = await context.new_page()
    await window.goto(page.link)
    await expect(window).to_have_title(re.compile("FLock"))
    await window.get_by_label("You are").select_option(member, force=True)
    await expect(window).to_have_title(re.compile(member))
    return window


async def _go_to(window: Window, name: str | re.Pattern[str]) -> None:
    """Open a channel or thread by its name in the navigation."""
    channels = window.get_by_role("navigation", name="Channels")
    entry = channels.get_by_role("button", name=name).or_(channels.get_by_role("link", name=name)).first
    await entry.click()


async def _scenes(film: Film, window: Window, story: Story, database: AsyncEngine) -> None:
    others = [story.person(name) for name in ("ana", "ben", "dmitri")]
    known = {video.id for video in await _all(database, story)}
    async with film.scene("prompt"):
        await window.get_by_label("Message", exact=True).focus()
        await window.keyboard.type(f"/prompt {PROMPT}", delay=35)
        await window.wait_for_timeout(300)
        await window.keyboard.press("Enter")

    async with film.scene("progress"), _following(window.get_by_role("article").filter(has_text=PROMPT).last):
        video = await _wait_for_video(database, story, known)
    card = window.get_by_role("article").filter(has_text=PROMPT).filter(has=window.locator("video")).last
    await expect(card).to_be_visible()
    await _show(card)
    async with film.scene("play"):
        await _play(card, 2000)
    async with film.scene("vote"):
        await _show(card)
        await card.get_by_role("button", name=re.compile("^(👍 *)?Up")).click()
        await window.wait_for_timeout(1000)
    async with film.scene("ledger"):
        await _show(card)
        await _wait_for_votes(story, database, video, 1)
        await window.wait_for_timeout(1500)  # the page looks at the ledger once a second
    await _vote(others, video)
    await story.person(MODERATOR).command("round close")
    await story.wait_until_closed(database, Terminal(quiet=True))
    await _go_to(window, re.compile(r"videos\b"))
    async with film.scene("result"):
        result = window.get_by_role("article").last
        await expect(result).to_be_visible()
        await _play(result, 1500)


@asynccontextmanager
async def _following(message: Locator) -> AsyncIterator[None]:
    """Keep a message in sight meanwhile, wherever it grows or moves to."""

    async def follow() -> None:
        while True:
            with contextlib.suppress(PlaywrightError):  # it is not there yet, or was just replaced
                await message.evaluate("m => m.scrollIntoView({block: 'end'})", timeout=500)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _show(card: Locator) -> None:
    """Bring a card's buttons, and as much above them as fits, into sight."""
    await card.evaluate("c => c.scrollIntoView({block: 'end'})")


async def _play(card: Locator, milliseconds: int) -> None:
    """Play the video of a message for a while; a message without one is looked at."""
    await _show(card)
    video = card.locator("video")
    if await video.count():
        await video.first.evaluate("v => { v.muted = true; v.loop = true; return v.play() }")
    await card.page.wait_for_timeout(milliseconds)


async def _all(database: AsyncEngine, story: Story) -> list[Video]:
    return [entry.video for entry in await videos.entries(database, story.round_id)]


async def _wait_for_video(database: AsyncEngine, story: Story, known: set[str]) -> Video:
    """Return the visitor's video once it is published."""

    async def look() -> Video | None:
        fresh = [video for video in await _all(database, story) if video.id not in known]
        return next((video for video in fresh if video.status == VideoStatus.PUBLISHED), None)

    return await wait_for("the visitor's video", look, seconds=PATIENT_S)


async def _wait_for_votes(story: Story, database: AsyncEngine, video: Video, ups: int) -> None:
    """Wait until the ledger has a video's votes."""
    address = story.stack.deployment.address if story.stack.deployment else ""
    async with Ledger(story.stack.rpc_url, address) as ledger:

        async def look() -> bool | None:
            now = await videos.get_or_none(database, video.id)
            if now is None or now.chain_id is None:
                return None
            return True if (await ledger.tally(now.chain_id)).up >= ups else None

        await wait_for("the vote on the ledger", look, seconds=PATIENT_S)


async def _vote(others: Sequence[Person], video: Video) -> None:
    for person in others:
        await person.press(await person.message(str(video.thread_id), str(video.message_id)), "Up")
