"""The eyes of the scripted voters: each video is fetched as a member's client fetches it, and read once."""

from __future__ import annotations

import asyncio
import hashlib

from bot.demo.discord.people import Community, NoAnswerError
from generation.feedback.community.tastes import Facts
from generation.feedback.community.watching import UnwatchableError, watch


class Watching:
    """The videos that were watched, by the hash of their bytes: whoever sees the same file sees the same."""

    def __init__(self, community: Community) -> None:
        self._community = community
        self._facts: dict[str, Facts] = {}
        self._one = asyncio.Lock()  # reading is arithmetic: more at once are no quicker

    async def at(self, url: str) -> Facts:
        """Return the facts of an attachment. Raises NoAnswerError where it cannot be fetched or played."""
        answer = await self._community.fetch(url)
        if answer.status_code != 200:
            raise NoAnswerError(f"A video cannot be fetched (HTTP {answer.status_code}).")
        return await self.of(answer.content)

    async def of(self, data: bytes) -> Facts:
        """Return the facts of a file. Raises NoAnswerError where it cannot be played."""
        sha256 = hashlib.sha256(data).hexdigest()
        async with self._one:
            if sha256 not in self._facts:
                try:
                    self._facts[sha256] = await asyncio.to_thread(watch, data)
                except UnwatchableError as error:
                    raise NoAnswerError(str(error)) from error
            return self._facts[sha256]
