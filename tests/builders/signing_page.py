"""The signing page on a port of its own, over a real database and a ledger on the embedded chain."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.votes import Choice, Vote
from bot.domain.wallets import Names, SigningRequest
from bot.signing.page import SigningPage
from bot.signing.requests import SigningRequests
from bot.store.vote_writer import VoteWriter
from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from migrations.database import open_database, upgrade_database
from migrations.schema import rounds, videos
from tests.bot.store.test_vote_writer import GUILD, MEMBER, PEPPER, add_round, add_video
from tests.builders.accounts import member, sign
from tests.builders.chain_process import ChainProcess

ANA = member(1)
VIDEO = "10"


@dataclass
class Page:
    """The page, and what a member asks it for. One video is posted and on the ledger, with the number 1025."""

    url: str
    database: AsyncEngine
    signing: SigningRequests

    async def link(self, names: Names) -> SigningRequest:
        return await self.signing.link(GUILD, MEMBER, ANA.address, names)

    async def ballot(self, names: Names) -> SigningRequest:
        """A ballot of one vote up, of a member whose link is signed."""
        asked = await self.link(names)
        await self.signing.sign(asked.token, "0x" + sign(ANA, await self.signing.message(asked)).hex())
        votes = VoteWriter(self.database, PEPPER)
        votes.start()
        await votes.cast(Vote(GUILD, VIDEO, MEMBER, Choice.UP, "button"))
        await votes.close()
        return await self.signing.ballot(GUILD, MEMBER, names)

    async def change(self, **values: object) -> None:
        """Change the video."""
        async with self.database.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == VIDEO).values(**values))


@asynccontextmanager
async def open_page(url: str, folder: Path) -> AsyncIterator[Page]:
    """Serve the page within this block, over an empty database."""
    await upgrade_database(url)
    database, chain = open_database(url), ChainProcess(folder / "chain")
    try:
        await add_round(database, 1)
        await add_video(database, VIDEO, 1)
        async with database.begin() as connection:
            await connection.execute(update(rounds).values(chain_id=1))
            await connection.execute(update(videos).values(chain_id=1025, thread_id=77, sha256="ab" * 32))
        deployed = await deploy(chain.url, chain.signer, folder / "ledger.json")
        async with Ledger(chain.url, deployed.address) as ledger:
            signing = SigningRequests(database=database, ledger=ledger, pepper=PEPPER, on_signed=lambda: None)
            page = SigningPage(database=database, signing=signing, rpc=None, on_ledger_s=60)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            async with page.serving("127.0.0.1", port, f"http://127.0.0.1:{port}"):
                yield Page(f"http://127.0.0.1:{port}/sign", database, signing)
    finally:
        chain.stop()
        await database.dispose()
