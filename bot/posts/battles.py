"""The posts of a battle round: its announcement, and its verdict. Each is posted once.

No answer of Discord raises here: what is in the way is returned as an `Obstacle`.
"""

from __future__ import annotations

from discord import ui
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import battles as cards
from bot.client import Client
from bot.domain.battles import Battle
from bot.posts.obstacles import Obstacle, attempt
from bot.posts.once import post_once
from bot.store import rounds as round_rows
from bot.store.battles import rounds as battles

POST_S = 15.0  # then the workflow goes on, and tries again later


class BattlePosts:
    """Posts and edits what the rows of battle rounds say."""

    def __init__(self, *, database: AsyncEngine, client: Client) -> None:
        self._database = database
        self._client = client

    async def announce(self, battle: Battle) -> Obstacle | None:
        """Post the announcement, once. Return what is in its way."""
        if battle.round.announcement_id is not None:
            return None
        card = cards.announcement(battle, await battles.count_pairs(self._database, battle.round.id))
        posted = await self._post_once(battle, card, cards.announcement_mark(battle), "battle")
        if isinstance(posted, Obstacle):
            return posted
        await round_rows.change(self._database, battle.round.id, announcement_id=posted)
        return None

    async def show(self, battle: Battle) -> Obstacle | None:
        """Let the announcement say how the round is now. Return what is in the way."""
        card = cards.announcement(battle, await battles.count_pairs(self._database, battle.round.id))

        async def edit() -> None:
            channel = await self._client.channel(battle.round.channel_id)
            await channel.get_partial_message(battle.round.announcement_id or 0).edit(view=card)

        if battle.round.announcement_id is None:
            return await self.announce(battle)
        edited = await attempt(self._client, battle.round.channel_id, edit, seconds=POST_S)
        return edited if isinstance(edited, Obstacle) else None

    async def post_verdict(self, battle: Battle) -> Obstacle | None:
        """Post the verdict of a round, once. Return what is in its way."""
        if battle.round.result_message_id is not None or battle.verdict is None:
            return None
        pairs = await battles.count_pairs(self._database, battle.round.id)
        card = cards.verdict_card(battle, battle.verdict, pairs)
        posted = await self._post_once(battle, card, cards.verdict_mark(battle), "verdict")
        if isinstance(posted, Obstacle):
            return posted
        await round_rows.change(self._database, battle.round.id, result_message_id=posted)
        return None

    async def _post_once(self, battle: Battle, card: ui.LayoutView, mark: str, kind: str) -> int | Obstacle:
        async def post() -> int:
            channel = await self._client.channel(battle.round.channel_id)
            nonce = f"{kind}-{battle.round.id}"[:25]
            return (await post_once(channel, card, nonce=nonce, mark=mark, again=True)).id

        return await attempt(self._client, battle.round.channel_id, post, seconds=POST_S)
