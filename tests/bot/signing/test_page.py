"""The page says for whom a signature is and what it decides; whoever has no token reads nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select, update

from bot.domain.wallets import Names
from bot.store import signing_requests
from migrations.schema import signing_requests as table
from tests.bot.store.test_vote_writer import GUILD, MEMBER
from tests.builders.signing_page import ANA, Page, open_page

NAMES = Names("Storm chasers", "ana.of.the.storms")


@pytest.fixture
async def page(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Page]:
    async with open_page(sqlite_url, tmp_path) as page:
        yield page


async def shown(page: Page, token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as browser, browser.get(f"{page.url}/request", headers=headers) as answer:
        read: dict[str, Any] = await answer.json()
        return read


async def test_a_link_names_the_server_and_the_member(page: Page) -> None:
    """By their names and by their ids, and the voter id as the wallet shows it: a stranger sees whose it is."""
    asked = await page.link(NAMES)
    request = await shown(page, asked.token)
    assert request["server"] == {"name": "Storm chasers", "id": str(GUILD)}
    assert request["member"] == {"name": "ana.of.the.storms", "id": str(MEMBER)}
    assert request["message"]["message"]["voterId"] == "0x" + request["voter"]
    assert request["wallet"] == ANA.address
    assert (await signing_requests.get(page.database, asked.token)).names == NAMES


async def test_a_request_of_an_earlier_version_has_ids_alone(page: Page) -> None:
    """It was recorded without names, and can still be signed."""
    asked = await page.link(NAMES)
    async with page.database.begin() as connection:
        content = dict(await connection.scalar(select(table.c.content)) or {})
        del content["names"]
        await connection.execute(update(table).values(content=content))
    request = await shown(page, asked.token)
    assert request["server"] == {"name": "", "id": str(GUILD)}
    assert request["member"] == {"name": "", "id": str(MEMBER)}


async def test_a_ballot_shows_each_number_beside_its_video(page: Page) -> None:
    """The numbers are those of the message that the wallet shows; the hash and the card tell which video it is."""
    request = await shown(page, (await page.ballot(NAMES)).token)
    [choice] = request["choices"]
    assert request["message"]["message"]["choices"] == [{"video": choice["video"], "choice": choice["choice"]}]
    assert (choice["video"], choice["choice"], choice["emoji"], choice["prompt"]) == (1025, 1, "👍", "prompt 10")
    assert choice["sha256"] == "ab" * 32
    assert choice["card"] == f"https://discord.com/channels/{GUILD}/77/5010"


async def test_a_removed_video_is_named_as_one(page: Page) -> None:
    """Its prompt and its card are gone; the number and the hash are what the ledger has of it."""
    asked = await page.ballot(NAMES)
    await page.change(status="removed", reason="no")
    [choice] = (await shown(page, asked.token))["choices"]
    assert choice["prompt"] == "a video that a moderator removed"
    assert choice["card"] is None
    assert choice["video"] == 1025


async def test_every_answer_keeps_other_pages_out(page: Page) -> None:
    """No opener, no frame and no other origin reaches into it: the page, its files, and answers to wrong tokens."""
    async with aiohttp.ClientSession() as browser:
        for path, status in (("", 200), ("/sign.js", 200), ("/request", 410), ("/none.js", 404)):
            async with browser.get(page.url + path) as answer:
                assert answer.status == status
                assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
