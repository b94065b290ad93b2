"""`make screenshots`: the pictures in docs/img, still and moving, of the demo's page in a real headless Chromium.

`make screenshots ARGS=moving` or `ARGS=still` takes one kind alone.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Locator, expect
from playwright.async_api import Page as Window

from bot.demo.page.panel import Panel
from bot.demo.page.server import Page
from bot.demo.story import PROMPTS, Story
from tests.acceptance import moving_picture
from tests.acceptance.conftest import open_story
from tests.chromium import CHROMIUM, MISSING, open_chromium

FOLDER = Path(__file__).parents[2] / "docs" / "img"
DESKTOP = {"width": 1360, "height": 880}
PHONE = {"width": 390, "height": 844}
PATIENT_MS = 90_000
# The tiny model renders within a second: more steps, so that there is something to see of its progress. They do its
# videos no good.
MANY_STEPS = "[models.tiny]\nsteps = 200\n"
SOME_STEPS = "[models.tiny]\nsteps = 60\n"


async def main() -> None:
    if CHROMIUM is None:
        sys.exit(MISSING)
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or ["still", "moving"]
    if "still" in wanted:
        await take_stills()
    if "moving" in wanted:
        await take_moving_picture(FOLDER / "demo.webp")


@asynccontextmanager
async def open_page(prompts: Sequence[str], models: str = "") -> AsyncIterator[tuple[Story, Browser, Page]]:
    """Start a story in a state of its own, a browser and the page; `models` is the text of the models file, if any."""
    with tempfile.TemporaryDirectory() as state:
        settings = {}
        if models:
            file = Path(state) / "models.toml"
            file.write_text(models)
            settings["FLOCK_MODELS_FILE"] = str(file)
        async with (
            open_story(Path(state), list(prompts), settings=settings) as story,
            open_chromium(PATIENT_MS) as browser,
        ):
            panel = Panel(story.stack)
            page = Page(story.stack.keys.page_token, panel.look)
            await page.start()
            page.show_discord(story.stack.discord_url, story.stack.keys.control_token)
            try:
                yield story, browser, page
            finally:
                await page.close()
                await panel.close()


async def take_moving_picture(path: Path) -> None:
    """Record README's moving picture. Raise SystemExit where it is not fit to be shown."""
    async with open_page(PROMPTS[:2], SOME_STEPS) as (story, browser, page):
        film = await moving_picture.record(browser, page, story)
    moving_picture.write(film.cut(), path)
    sys.stdout.write(f"{path}\n")
    if faults := moving_picture.faults(moving_picture.figures(path)):
        sys.exit(f"The moving picture cannot be shown: {', '.join(faults)}.")


async def take_stills() -> None:
    """Take the still pictures: while a video is rendered, and after a story that the model tells as it is."""
    async with open_page(PROMPTS, MANY_STEPS) as (story, browser, page):
        telling = asyncio.create_task(story.tell())
        try:
            await while_rendering(browser, page)
        finally:
            await telling
    async with open_page(PROMPTS) as (story, browser, page):
        await story.tell()
        await finished(browser, page)


async def while_rendering(browser: Browser, page: Page) -> None:
    """A member's view of the channel of prompts while a video is denoised."""
    window = await moving_picture.visit(browser, page, "ana", DESKTOP)
    await window.locator("#channels").get_by_role("button", name="general").click()
    rendered = window.locator(".message", has_text=re.compile("Rendering ▰▰"))
    await expect(rendered).not_to_have_count(0)
    await rendered.first.evaluate("message => message.scrollIntoView({block: 'center'})")
    await shoot(window, "rendering")


async def finished(browser: Browser, page: Page) -> None:
    """The voting thread after the story, on a desk and on a phone."""
    for name, size in (("story", DESKTOP), ("phone", PHONE)):
        window = await moving_picture.visit(browser, page, "emi", size)
        if size is PHONE:
            await window.get_by_role("button", name="Channels").click()
        await window.locator("#channels").get_by_role("button", name="Round 1").click()
        card = window.locator(".message", has_text=PROMPTS[0]).filter(has=window.locator("video"))
        await playing(card)
        if size is DESKTOP:
            await expect(window.locator("#behind td.same")).to_have_count(len(PROMPTS))
        await shoot(window, name)


async def playing(card: Locator) -> None:
    """Scrolls a card into view and lets its video play for a moment."""
    await card.evaluate("c => c.scrollIntoView({block: 'end'})")
    video = card.locator("video")
    await video.evaluate("v => { v.muted = true; return v.play() }")
    await card.page.wait_for_timeout(1200)
    await video.evaluate("v => v.pause()")


async def shoot(window: Window, name: str) -> None:
    path = FOLDER / f"{name}.png"
    await window.screenshot(path=path)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    asyncio.run(main())
