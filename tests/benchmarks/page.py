"""The demo's page as a newcomer meets it: seconds until a video plays, and until one's own does."""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.async_api import Browser
from playwright.async_api import Page as Window

from bot.demo.discord.people import Community
from bot.demo.page.panel import Panel
from bot.demo.page.server import Page
from bot.demo.stack import Stack
from bot.demo.story import Story
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Terminal
from migrations.database import open_database
from tests.benchmarks.figures import Figure
from tests.chromium import CHROMIUM, MISSING, open_chromium

PLAYS = "() => [...document.querySelectorAll('video')].some(video => video.currentTime > 0.05)"
PATIENT_MS = 120_000


async def measure(*, visits: int = 5, prompts: int = 3) -> list[Figure]:
    """Open the page `visits` times, and press an example `prompts` times. No figures without Chromium."""
    if CHROMIUM is None:
        sys.stderr.write(f"page: {MISSING}\n")
        return []
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(Path(folder))
        stack = Stack(Path(folder), supervisor)
        panel = Panel(stack)
        page = Page(stack.keys.page_token, panel.look)
        try:
            await page.start()
            await stack.open_services()
            page.show_discord(stack.discord_url, stack.keys.control_token)
            await stack.open_bot_and_worker()
            async with Community(stack.discord_url, stack.keys.control_token) as community, open_chromium() as browser:
                story = Story(stack, community, Terminal(quiet=True), ["a red circle"])
                database = open_database(stack.database_url)
                await story.wait_until_ready(database)
                await story.open_round(database)
                await story.make_videos(database)
                await database.dispose()
                first = [await first_screen(browser, page.link) for _ in range(visits)]
                window = await browser.new_page()
                await window.goto(page.link)
                own = [await own_video(window, number) for number in range(prompts)]
        finally:
            await page.close()
            await panel.close()
            await supervisor.stop()
    return [
        Figure("first_screen_s", round(statistics.median(first), 2),
               f"from opening the link until a video plays, in a new window; median of {visits}"),
        Figure("own_video_s", round(statistics.median(own), 2),
               f"from pressing an example until its video plays in the round's thread; median of {prompts}"),
    ]  # fmt: skip


async def first_screen(browser: Browser, link: str) -> float:
    """Return the seconds from opening the link, in a window that keeps nothing of others, until a video plays."""
    context = await browser.new_context()
    window = await context.new_page()
    start = time.monotonic()
    await window.goto(link)
    await window.wait_for_function(PLAYS, timeout=PATIENT_MS)
    took = time.monotonic() - start
    await context.close()
    return took


async def own_video(window: Window, number: int) -> float:
    """Return the seconds from pressing one of the examples until the video of its prompt plays in a card."""
    example = window.locator("[data-example]").nth(number)
    prompt = await example.get_attribute("data-example") or ""
    start = time.monotonic()
    await example.click()
    card = window.locator(".message", has_text=re.compile(re.escape(prompt))).filter(has=window.locator("video"))
    await card.first.scroll_into_view_if_needed(timeout=PATIENT_MS)
    handle = await card.first.locator("video").element_handle()
    await window.wait_for_function("video => video.currentTime > 0.05", arg=handle, timeout=PATIENT_MS)
    return time.monotonic() - start
