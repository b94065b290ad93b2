"""The one message about a training: posted once, edited while it goes on, and told anew where it was deleted.

No answer of Discord raises here: what is in the way is returned as an `Obstacle`.
"""

from __future__ import annotations

from bot.cards import candidates as cards
from bot.client import Client
from bot.posts.obstacles import Obstacle, attempt
from bot.posts.once import post_once

POST_S = 15.0  # then the workflow goes on, and tries again later


class TrainingPosts:
    """Posts and edits the messages about trainings."""

    def __init__(self, *, client: Client) -> None:
        self._client = client

    async def post(self, channel_id: int, text: str, *, mark: str, nonce: str) -> int | Obstacle:
        """Post a message, once; return its id, or what is in its way."""

        async def post() -> int:
            channel = await self._client.channel(channel_id)
            return (await post_once(channel, cards.card(text), nonce=nonce[:25], mark=mark, again=True)).id

        return await attempt(self._client, channel_id, post, seconds=POST_S)

    async def edit(self, channel_id: int, message_id: int, text: str) -> Obstacle | None:
        """Let a message have this text; return what is in the way."""

        async def edit() -> None:
            channel = await self._client.channel(channel_id)
            await channel.get_partial_message(message_id).edit(view=cards.card(text))

        return await attempt(self._client, channel_id, edit, seconds=POST_S)
