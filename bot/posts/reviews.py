"""The posts about a moderator's decision: the member is told in the channel in which they had asked."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.cards import reviews as review_cards
from bot.cards import videos as video_cards
from bot.client import Client
from bot.domain.reviews import Review
from bot.posts.once import post_once
from bot.store import rounds, videos
from migrations.states.community import ReviewState


class ReviewPosts:
    """Posts decisions, each once."""

    def __init__(self, *, database: AsyncEngine, client: Client, model_class: str) -> None:
        self._database = database
        self._client = client
        self._model_class = model_class

    async def post_decision(self, review: Review) -> None:
        """Post the decision about a prompt. The post about an approved prompt becomes its progress message.

        Raises what discord.py raises.
        """
        channel = await self._client.channel(review.channel_id or 0)
        nonce = f"review-{review.id}"[:25]
        if review.state != ReviewState.APPROVED:
            mark = f"-# Review {review.id}."
            text = f"{review_cards.notice_text(review)}\n{mark}"
            await post_once(channel, layout.note(text), nonce=nonce, mark=mark, again=True)
            return
        video = await videos.get(self._database, review.video_id)
        round_ = await rounds.get(self._database, video.round_id)
        place = await videos.queue_place(self._database, video, self._model_class)
        card = video_cards.progress_card(video_cards.progress_text(video, round_, place, None), video)
        mark = video_cards.custom_id("cancel", video.id)
        message = await post_once(channel, card, nonce=nonce, mark=mark, again=True)
        await videos.change(self._database, video.id, progress_channel_id=channel.id, progress_message_id=message.id)
