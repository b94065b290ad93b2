"""The post of a release, "your votes moved this", with its filmstrip. It is posted once.

No answer of Discord raises here: what is in the way is returned as an `Obstacle`.
"""

from __future__ import annotations

import io

import discord

from bot.cards import models as cards
from bot.client import Client
from bot.domain.releases import Release, ReleaseFacts
from bot.posts.obstacles import Obstacle, attempt
from bot.posts.once import is_too_large, post_once

POST_S = 15.0  # then the workflow goes on, and tries again later


class ReleasePosts:
    """Posts what shaped a release in the channel of a server's rounds."""

    def __init__(self, *, client: Client) -> None:
        self._client = client

    async def post(
        self, channel_id: int, facts: ReleaseFacts, *, before: Release | None, filmstrip: bytes | None, prompt: str
    ) -> Obstacle | None:
        """Post a release, once; without its filmstrip where Discord refuses the file. Return what is in its way."""

        async def post() -> None:
            try:
                await self._post(channel_id, facts, before, filmstrip, prompt)
            except discord.HTTPException as error:
                if filmstrip is None or not is_too_large(error):
                    raise
                await self._post(channel_id, facts, before, None, prompt)

        posted = await attempt(self._client, channel_id, post, seconds=POST_S)
        return posted if isinstance(posted, Obstacle) else None

    async def _post(
        self, channel_id: int, facts: ReleaseFacts, before: Release | None, filmstrip: bytes | None, prompt: str
    ) -> None:
        name = cards.filmstrip_name(facts.release)
        shown = None if filmstrip is None else name
        view = cards.release_post(facts, before=before, filmstrip=shown, prompt=prompt)
        file = None if filmstrip is None else discord.File(io.BytesIO(filmstrip), filename=name)
        channel = await self._client.channel(channel_id)
        nonce = f"release-{channel_id % 10**9}-{facts.release.number}"[:25]
        await post_once(channel, view, nonce=nonce, mark=cards.release_mark(facts.release), again=True, file=file)
