"""The signing page, looked at by a stranger and told hostile names: it says whose it is, and runs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from bot.demo.discord.people import wait_for
from bot.domain.wallets import Names
from tests.bot.store.test_vote_writer import GUILD, MEMBER
from tests.builders.signing_page import Page, open_page
from tests.chromium import needs_chromium, open_chromium

pytestmark = needs_chromium

RUNS = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture
async def page(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Page]:
    async with open_page(sqlite_url, tmp_path) as page:
        yield page


async def test_a_stranger_who_is_sent_a_link_reads_whose_votes_they_would_sign(page: Page) -> None:
    """The name that Discord has once, the server, both ids, and the advice to close the page."""
    asked = await page.link(Names("Storm chasers", "mallory"))
    async with open_chromium() as browser:
        seen = await browser.new_page()
        await seen.goto(f"{page.url}#{asked.token}")
        await expect(seen.locator("#whose")).to_contain_text("@mallory")
        await expect(seen.locator("#whose")).to_contain_text(str(MEMBER))
        await expect(seen.locator("#whose")).to_contain_text("Storm chasers")
        await expect(seen.locator("#whose")).to_contain_text(str(GUILD))
        await expect(seen.locator("#about")).to_contain_text("If you are not that member, close this page")
        await expect(seen.locator("#voter-id")).to_have_text(asked.voter_id)


async def test_names_and_prompts_are_text_and_nothing_else(page: Page) -> None:
    """Markup in them is shown as it was written; no element comes of it, and no link but Discord's."""
    await page.change(prompt=RUNS)
    asked = await page.ballot(Names(RUNS, RUNS))
    async with open_chromium() as browser:
        seen = await browser.new_page()
        await seen.goto(f"{page.url}#{asked.token}")
        await expect(seen.locator("#choices .prompt")).to_have_text(RUNS)
        await expect(seen.locator("#server")).to_have_text(RUNS)
        await expect(seen.locator("#choices")).to_contain_text("video 1025, choice 1")
        await expect(seen.locator("#choices")).to_contain_text("ab" * 32)
        assert await seen.locator("#choices img, #whose img, main script").count() == 0
        links = await seen.locator("main a").evaluate_all("all => all.map((each) => each.href)")
        assert links == [f"https://discord.com/channels/{GUILD}/77/5010"]
        assert await seen.title() == "FLock · Sign your votes"


async def test_whoever_opens_the_page_holds_no_handle_to_it(page: Page) -> None:
    """A page of another origin that opens it finds a closed window."""
    asked = await page.link(Names("Storm chasers", "ana"))
    async with open_chromium() as browser:
        other = await browser.new_page()
        await other.goto(page.url.replace("127.0.0.1", "localhost"))
        await other.evaluate("address => { window.signing = window.open(address); }", f"{page.url}#{asked.token}")

        async def closed() -> bool | None:  # asked from outside: the page's own rules forbid a loop that evaluates
            return True if await other.evaluate("window.signing.closed") else None

        await wait_for("the handle to be that of a closed window", closed, seconds=180)
