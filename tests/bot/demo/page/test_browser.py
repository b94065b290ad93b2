"""The page in a real Chromium, with a bot that uses every kind of component."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect
from playwright.async_api import Page as Window

from bot.demo.discord.people import Community, wait_for
from bot.demo.discord.server import DiscordConfig, EmbeddedDiscord
from bot.demo.page.server import Page
from tests.chromium import needs_chromium, open_chromium

FORUM = 15

pytestmark = needs_chromium


async def nothing_behind() -> dict[str, Any]:
    return {}


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """The page over an embedded Discord with a forum, and the bot that shows everything."""
    discord = EmbeddedDiscord(
        DiscordConfig(state=tmp_path / "state", bot_token="bot-token", control_token="control-token")
    )
    await discord.start()
    assert discord.world is not None
    discord.world.backend.create_channel(discord.world.guild_id, "ideas", type=FORUM)
    url = f"http://127.0.0.1:{discord.port}"
    env = {"API": f"{url}/api/v10", "GATEWAY": f"ws://127.0.0.1:{discord.port}/gateway", "TOKEN": "bot-token"}
    script = Path(__file__).with_name("a_showcase_bot.py")
    with (tmp_path / "bot.log").open("wb") as log:
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", str(script), env={**os.environ, **env}, stdout=log, stderr=log
        )
    page = Page("the-visitors'", nothing_behind)
    await page.start()
    page.show_discord(url, "control-token")
    try:
        async with Community(url, "control-token") as community:

            async def online() -> bool | None:
                world = await community.world()
                return True if world["connected"] and world["commands"] else None

            await wait_for("the bot to come online", online, seconds=60)
        yield page
    finally:
        bot.kill()
        await bot.wait()
        await page.close()
        await discord.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_chromium() as browser:
        yield browser


async def visit(browser: Browser, page: Page, member: str, **context: Any) -> Window:
    window = await (await browser.new_context(**context)).new_page()
    await window.goto(page.link.replace("/#", f"/?as={member}#"))
    await expect(window).to_have_title(re.compile(member))
    await expect(window.locator("#where")).to_have_text("#general")
    return window


async def command(window: Window, name: str) -> None:
    await window.get_by_label("Message", exact=True).press_sequentially(f"/{name}")
    await window.keyboard.press("Enter")
    await window.keyboard.press("Enter")


async def test_every_component_shows_and_works(browser: Browser, page: Page) -> None:
    """A card with all that Discord has: texts with markdown, pictures, files, menus, buttons, modals."""
    window = await visit(browser, page, "ana")
    await command(window, "showcase")
    card = window.locator(".message .container")
    await expect(card.get_by_role("heading", name="Large")).to_be_visible()
    shown = {
        "strong": "bold",
        "em": "slanted",
        "u": "under",
        "s": "gone",
        ".spoiler": "secret",
        "pre code": "<b>block</b>",
        "blockquote": "a quote",
        "li >> nth=1": "two",
        ".subtext": "small",
        "a": "a link",
        "time": "years ago",
    }
    for tag, words in shown.items():
        await expect(card.locator(tag).first).to_contain_text(words)
    await expect(card.locator(".text").first).to_contain_text("*plain*")
    await expect(card.get_by_alt_text("the same dot")).to_be_visible()
    await expect(card.get_by_role("link", name="words.txt")).to_have_attribute("href", re.compile("/attachments/"))
    await expect(card.get_by_role("button", name="Off")).to_be_disabled()
    await expect(card.get_by_role("link", name="Out")).to_have_attribute("rel", "noopener noreferrer")
    assert await card.evaluate("c => getComputedStyle(c).borderLeftColor") == "rgb(17, 170, 85)"
    await card.get_by_label("Which weather?").select_option("sun")
    await expect(window.locator(".message.ephemeral", has_text="So it is sun.")).to_be_visible()

    # A modal: what is needed is asked for by the browser, what is optional may stay empty.
    await card.get_by_role("button", name="Fields").click()
    dialog = window.get_by_role("dialog", name="Two fields")
    await dialog.get_by_role("button", name="Submit").click()
    await expect(dialog).to_be_visible()
    await dialog.get_by_label("Name").fill("ana")
    await dialog.get_by_role("button", name="Submit").click()
    await expect(window.locator(".message.ephemeral", has_text="ana: nothing")).to_be_visible()
    await window.locator(".message.ephemeral", has_text="ana: nothing").get_by_role("button", name="Dismiss").click()
    await expect(window.locator(".message", has_text="ana: nothing")).to_have_count(0)


async def test_suggestions_thinking_and_silence(browser: Browser, page: Page) -> None:
    """Suggestions come while one types; a bot that thinks shows it, and one that is silent is said to be."""
    window = await visit(browser, page, "ben")
    await window.get_by_label("Message", exact=True).press_sequentially("/pick rain")
    await expect(window.get_by_role("option", name="rainbow")).to_be_visible()
    await window.keyboard.press("ArrowDown")
    await window.keyboard.press("Enter")
    await window.get_by_role("button", name="+ loud").click()
    await window.get_by_role("combobox", name="loud").select_option("true")
    await window.get_by_role("button", name="Send /pick").click()
    await expect(window.locator(".message", has_text="A RAINBOW")).to_be_visible()

    await command(window, "think")
    await expect(window.locator(".pending", has_text="is thinking")).to_be_visible()
    await expect(window.locator(".message", has_text="second thought")).to_be_visible()
    await expect(window.locator(".pending")).to_have_count(0)
    await command(window, "silence")
    await expect(window.locator(".pending.failed")).to_contain_text("did not respond")
    await window.locator(".pending.failed").get_by_role("button", name="Dismiss").click()
    await expect(window.locator(".pending")).to_have_count(0)


async def test_forum_posts_and_words(browser: Browser, page: Page) -> None:
    """A post of a forum opens; what one member writes, others see at once, until it is deleted."""
    ana, ben = await visit(browser, page, "ana"), await visit(browser, page, "ben")
    await command(ana, "post")
    await ana.locator(".message", has_text="There it is").get_by_role("button", name="#An idea").click()
    await expect(ana.locator(".message", has_text="more clouds")).to_be_visible()
    await ben.locator("#channels").get_by_role("button", name="ideas").click()
    await ben.locator("#log").get_by_role("button", name="An idea").click()
    await expect(ben.locator(".message", has_text="more clouds")).to_be_visible()
    await ana.get_by_label("Message", exact=True).fill("and **lions**")
    await ana.keyboard.press("Enter")
    await expect(ben.locator(".message strong", has_text="lions")).to_be_visible()
    mine = ana.locator(".message", has_text="and lions")
    await mine.hover()
    await mine.get_by_role("button", name="Delete").click()
    await expect(ben.locator(".message", has_text="and lions")).to_have_count(0)
    # What is somebody else's cannot be deleted by a mere member.
    theirs = ben.locator(".message", has_text="more clouds")
    await theirs.hover()
    await expect(theirs.get_by_role("button", name="Delete")).to_have_count(0)


async def test_on_a_phone(browser: Browser, page: Page) -> None:
    """Nothing is wider than the screen; channels and the look behind open over the messages."""
    window = await visit(browser, page, "emi", viewport={"width": 360, "height": 720}, has_touch=True)
    await command(window, "showcase")
    await expect(window.locator(".message .container")).to_be_visible()
    assert await window.evaluate("document.documentElement.scrollWidth") == 360
    log = window.locator("#log")
    assert await log.evaluate("l => l.scrollWidth <= l.clientWidth")
    await expect(window.locator("#sidebar")).to_be_hidden()
    await window.get_by_role("button", name="Channels").tap()
    await window.locator("#channels").get_by_role("button", name="videos").tap()
    await expect(window.locator("#where")).to_have_text("#videos")
    await expect(window.locator("#sidebar")).to_be_hidden()
    await expect(window.locator("#behind")).to_be_hidden()
    await window.get_by_role("button", name="Behind the scenes").tap()
    await expect(window.locator("#behind")).to_be_visible()
