"""The demo's page in a real Chromium: one round, lived through by mouse and keyboard alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Dialog, Locator, expect
from playwright.async_api import Page as Window

from bot.demo.page.panel import Panel
from bot.demo.page.server import Page
from bot.demo.story import Story
from tests.acceptance.axe import DESK, PHONE, violations
from tests.acceptance.conftest import OpenStory
from tests.chromium import needs_chromium, open_chromium

HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2)) ||spoiler|| @everyone <script>alert(3)</script>'
PATIENT_MS = 120_000

pytestmark = needs_chromium


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_chromium() as browser:
        yield browser


class Visitor:
    """A person at one window."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.troubles: list[str] = []
        window.on("pageerror", lambda error: self.troubles.append(str(error)))
        window.on("dialog", self._dialog)
        window.set_default_timeout(30_000)

    async def _dialog(self, dialog: Dialog) -> None:
        self.troubles.append(f"a dialog: {dialog.message}")
        await dialog.dismiss()

    async def type_command(self, text: str, *values: str) -> None:
        """Types a command and its options on the keyboard, as they come."""
        await self.window.get_by_label("Message", exact=True).focus()
        await self.window.keyboard.type(text)
        for value in values:
            await self.window.keyboard.type(value)
            await self.window.keyboard.press("Tab")
        await self.window.locator(".send").press("Enter")

    def messages(self, words: str | re.Pattern[str]) -> Locator:
        return self.window.locator(".message", has_text=words)

    async def open(self, name: str) -> None:
        await self.window.locator("#channels").get_by_role("button", name=name).first.click()
        await expect(self.window.locator("#where")).to_contain_text(name)

    def card(self, prompt: str) -> Locator:
        return self.window.locator(".message", has_text=prompt).filter(has=self.window.locator("video"))


async def visit(browser: Browser, page: Page, member: str) -> Visitor:
    """A new window, with nothing kept from others, in which somebody becomes a member."""
    context = await browser.new_context(viewport=DESK, permissions=["clipboard-read", "clipboard-write"])
    visitor = Visitor(await context.new_page())
    await visitor.window.goto(page.link)
    await visitor.window.get_by_label("You are").select_option(member)
    await expect(visitor.window).to_have_title(re.compile(member))
    return visitor


async def test_a_round_by_mouse_and_keyboard(browser: Browser, tmp_path: Path, story_opener: OpenStory) -> None:
    """A moderator opens a round; a member prompts, watches, plays and votes; others see it; the chain agrees."""
    async with story_opener(tmp_path, []) as story:
        panel = Panel(story.stack)
        page = Page(story.stack.keys.page_token, panel.look)
        await page.start()
        page.show_discord(story.stack.discord_url, story.stack.keys.control_token)
        try:
            await story.wait_for_bot(None)  # type: ignore[arg-type]  # it looks at Discord alone
            await live_through_a_round(browser, page, story)
        finally:
            await page.close()
            await panel.close()


async def live_through_a_round(browser: Browser, page: Page, story: Story) -> None:
    mira = await visit(browser, page, "mod-mira")
    ana = await visit(browser, page, "ana")
    ben = await visit(browser, page, "ben")

    # ana is no moderator: she is not even offered what moderators do.
    await ana.window.get_by_label("Message", exact=True).press_sequentially("/")
    await expect(ana.window.get_by_role("option", name=re.compile("^.prompt"))).to_be_visible()
    await expect(ana.window.get_by_role("option", name=re.compile("^.setup"))).to_have_count(0)
    await ana.window.keyboard.press("Escape")
    await ana.window.get_by_label("Message", exact=True).fill("")

    # The moderator, by keyboard alone: an arrow and Enter choose a command, Enter sends it.
    await mira.window.get_by_label("Message", exact=True).press_sequentially("/setup")
    await mira.window.keyboard.press("Enter")
    channel = mira.window.get_by_role("combobox", name="channel", exact=True)
    await channel.select_option(label="#videos")
    await channel.press("Enter")
    await expect(mira.messages("Rounds will be posted")).to_contain_text("Only you can see this")
    await mira.type_command("/round open ", "clouds & lions", "1h")
    await expect(mira.messages("is open")).to_be_visible()

    # A needed option that is empty is said beside the field, and nothing is sent.
    await ana.type_command("/prompt ")
    await expect(ana.window.get_by_role("alert")).to_contain_text("needs “text”")

    # A prompt that is too long stays with her too: the client counts, and says how much is too much.
    text = ana.window.get_by_role("textbox", name="text", exact=True)
    await expect(ana.window.locator(".option .count")).to_have_text("0/500")
    await text.fill("x" * 500)
    await expect(ana.window.locator(".option .count.over")).to_have_count(0)
    await text.fill("x" * 501)
    await expect(ana.window.locator(".option .count.over")).to_have_text("501/500")
    await text.press("Enter")
    await expect(ana.window.get_by_role("alert")).to_contain_text("“text” has 501 characters; 500 are allowed.")
    await text.fill("")
    await ana.window.keyboard.press("Escape")

    # She is led: one sentence and three examples, above the fold. She asks; her message moves on by itself until it
    # links to the post, and she follows the link.
    for width, height in ((1280, 880), (390, 844)):
        await ana.window.set_viewport_size({"width": width, "height": height})
        await expect(ana.window.locator("#lead")).to_contain_text("Make a video: type /prompt")
        await expect(ana.window.locator("[data-example]")).to_have_count(3)
        await expect(ana.window.locator("[data-example]").last).to_be_in_viewport(ratio=1)
    await ana.window.set_viewport_size(DESK)
    await ana.type_command("/prompt ", "a red circle rolls over a blue field")
    asked = ana.messages("a red circle rolls")
    await expect(asked).to_contain_text("ana used /prompt")
    await expect(ana.window.locator("#behind progress").first).to_be_visible(timeout=PATIENT_MS)
    await expect(asked).to_contain_text("up for votes", timeout=PATIENT_MS)
    await asked.get_by_role("button", name=re.compile("Round 1.*💬")).click()
    card = ana.card("a red circle rolls")
    await expect(card).to_be_visible()
    await expect(card).to_contain_text("AI-generated")
    await expect(ana.window.locator("#where")).to_contain_text("Round 1: clouds & lions")

    # The video plays where it stands, by itself and muted, in a box of its own shape; a poster comes first.
    video = card.locator("video")
    await expect(ana.window.locator("#lead")).to_contain_text("Press 👍 on the video you like")
    assert await video.evaluate("v => v.muted && v.loop && v.poster.includes('format=jpeg')")
    assert await video.evaluate("v => Math.abs(v.clientWidth / v.clientHeight - v.videoWidth / v.videoHeight) < 0.02")
    await ana.window.wait_for_function("v => v.currentTime > 0.2", arg=await video.element_handle())

    # She votes by keyboard; the answer is hers alone.
    await ben.open("Round 1")
    await card.get_by_role("button", name="Up").press("Enter")
    await expect(ana.messages("Recorded: your vote")).to_contain_text("Only you can see this")
    await expect(ben.messages("Recorded: your vote")).to_have_count(0)
    await own_choice_and_addresses(ana, ben, card)

    # ben reacts: ana sees it at once. He gives feedback in a modal, and takes it up again after a mistake.
    his = ben.card("a red circle rolls")
    await his.hover()
    await his.get_by_role("button", name="React with 👎").click()
    await expect(card.locator(".reaction", has_text="👎")).to_contain_text("1")
    await expect(his.locator(".reaction.mine")).to_contain_text("👎")
    await his.get_by_role("button", name="Feedback").click()
    await expect(ben.window.get_by_role("dialog")).to_be_visible()
    await ben.window.keyboard.press("Escape")
    await expect(ben.window.get_by_role("dialog")).to_have_count(0)
    await his.get_by_role("button", name="Feedback").click()
    await expect(ben.window.get_by_role("dialog")).to_be_visible()
    assert await accessible(ben) == []
    await ben.window.keyboard.type("More clouds!")
    await ben.window.get_by_role("button", name="Submit").click()
    await expect(ben.messages("Thank you for your feedback")).to_be_visible()

    # A hostile prompt is words, everywhere that it shows.
    await ben.open("general")
    await ben.type_command("/prompt ", HOSTILE)
    await expect(ben.messages("onerror")).to_contain_text("<img src=x onerror")
    await expect(ben.messages("onerror")).to_contain_text("up for votes", timeout=PATIENT_MS)
    bad = ana.card("onerror")
    await expect(bad).to_contain_text("<script>alert(3)</script>")
    assert await bad.locator("img, script, a[href^=javascript]").count() == 0
    await ben.window.reload()
    await expect(ben.messages("onerror")).to_contain_text("<img src=x onerror")

    # Whoever comes now is led to the open round, where a video plays already.
    emi = await visit(browser, page, "emi")
    await expect(emi.window.locator("#where")).to_contain_text("Round 1: clouds & lions")
    await emi.window.wait_for_function("() => [...document.querySelectorAll('video')].some(v => v.currentTime > 0.2)")
    assert await accessible(emi) == []

    # The moderator closes; all see the result, the card takes no more votes, and the panel shows what the chain says.
    await mira.window.get_by_label("Message", exact=True).press_sequentially("/round close")
    await mira.window.keyboard.press("Enter")  # chooses it, as in Discord
    await mira.window.keyboard.press("Enter")
    await expect(mira.messages("Round 1 is closed").first).to_be_visible()
    await ana.open("videos")
    await expect(ana.messages("Round 1 is decided")).to_contain_text("a red circle rolls", timeout=PATIENT_MS)
    await ana.open("Round 1")
    card = ana.card("a red circle rolls")
    await expect(card.get_by_role("button", name="Down")).to_have_count(0, timeout=PATIENT_MS)
    await expect(card).to_contain_text("Round 1 is closed")
    await expect(card.get_by_role("button", name="Report")).to_be_visible()
    row = ana.window.locator("#behind tr", has_text="a red circle rolls")
    await expect(row).to_contain_text(re.compile("👍1 👎1.*👍1 👎1 ✓"), timeout=PATIENT_MS)

    await nothing_is_out_of_reach(ana, emi)

    # ben's words reached nobody's browser as a script, and no window met an error.
    assert ana.troubles == ben.troubles == mira.troubles == []


async def own_choice_and_addresses(ana: Visitor, ben: Visitor, card: Locator) -> None:
    """Her choice is marked on the card, over a reload too, and for her alone; the card has an address of its own."""
    await expect(card.locator(".button.chosen")).to_have_text("👍Up")
    await expect(ben.window.locator(".button.chosen")).to_have_count(0)
    await card.hover()
    await card.get_by_role("button", name="Copy the link").click()
    link = await ana.window.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/channels/\d+/\d+/\d+", link)
    await ana.window.goto(link)
    await expect(card.locator(".button.chosen")).to_have_attribute("aria-pressed", "true")
    await expect(card).to_be_in_viewport()
    await ana.open("general")
    await ana.window.go_back()
    await expect(ana.window.locator("#where")).to_contain_text("Round 1")
    await ana.window.go_forward()
    await expect(ana.window.locator("#where")).to_have_text("#general")
    await ana.window.go_back()

    # A withdrawn vote is marked no more, and a new one is.
    await card.get_by_role("button", name="Up").click()
    await ana.messages("Recorded: your vote").last.get_by_role("button", name="Withdraw").click()
    await expect(card.locator(".button.chosen")).to_have_count(0)
    await card.get_by_role("button", name="Up").click()
    await expect(card.locator(".button.chosen")).to_have_text("👍Up")


async def accessible(visitor: Visitor) -> list[str]:
    """Return what axe finds at a desk and on a phone."""
    found = await violations(visitor.window)
    await visitor.window.set_viewport_size(PHONE)
    found += await violations(visitor.window)
    await visitor.window.set_viewport_size(DESK)
    return found


async def nothing_is_out_of_reach(ana: Visitor, emi: Visitor) -> None:
    """axe finds nothing: in a closed thread, with the chooser of commands, with the panel on a phone."""
    assert await accessible(ana) == []
    await ana.open("general")
    await ana.window.get_by_label("Message", exact=True).press_sequentially("/")
    await expect(ana.window.get_by_role("option", name=re.compile("^.prompt"))).to_be_visible()
    assert await accessible(ana) == []
    await ana.window.get_by_label("Message", exact=True).fill("")
    await emi.window.set_viewport_size(PHONE)
    await emi.window.get_by_role("button", name="Behind the scenes").click()
    await expect(emi.window.locator("#behind")).to_be_visible()
    assert await violations(emi.window) == []


async def test_a_link_without_its_token_opens_nothing(browser: Browser, tmp_path: Path) -> None:
    """Who has only the address reads what to do, and sees no word of the guild."""

    async def nothing() -> dict[str, object]:
        return {}

    page = Page("the-token", nothing)
    await page.start()
    try:
        window = await (await browser.new_context()).new_page()
        await window.goto(page.link.partition("#")[0])
        await expect(window.get_by_role("status")).to_contain_text("Open that link")
        await window.goto(page.link.replace("the-token", "wrong"))  # the page begins anew by itself
        await expect(window.get_by_role("status")).to_contain_text("Wrong or missing token")
    finally:
        await page.close()
