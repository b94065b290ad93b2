"""The card of a video in its voting thread: posted once, given its link, taken back, or emptied.

A method that Discord or the host keeps waiting raises what passes by itself; its caller, a durable step, tries again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import aiohttp
import discord
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import videos as video_cards
from bot.client import Client
from bot.domain.videos import Video
from bot.domain.votes import CardVotes
from bot.files.attachments import attachment, attachment_name
from bot.posts.comparison import is_shown
from bot.posts.once import is_too_large, marks, post_once
from bot.posts.progress import ProgressMessages
from bot.retry import UNREADABLE, passes
from bot.store import rounds, videos
from bot.store.vote_writer import votes_on_cards
from generation.hosting.reach import PUBLIC, Reach
from migrations.states.community import RoundStatus, VideoStatus

log = logging.getLogger(__name__)

_THREAD_ARCHIVED = 50083
TRUST_REFUSAL_S = 3600.0  # after that, a size that Discord refused is tried again: the refusal may have been a mishap


class PostError(Exception):
    """A card that cannot be posted. The reason is a sentence for the member."""


class ThreadArchivedError(Exception):
    """A card in a thread that is archived, by somebody or after a week without a message: none in it can be edited."""


class ThreadLockedError(ThreadArchivedError):
    """A thread that is archived and locked, as only a moderator does: it is left as it is."""


@dataclass(frozen=True)
class PostedCard:
    """The message that shows a video."""

    thread_id: int
    message_id: int
    has_link: bool  # to the video at its host


class VideoPosts:
    """Posts the cards of videos, edits them and takes them back."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        client: Client,
        data_dir: Path,
        host_name: str | None,
        progress: ProgressMessages,
        reach: Reach = PUBLIC,
    ) -> None:
        """`host_name` is what the link of a card names; None stands for the host's own address.

        `reach` is what the host may have us ask.
        """
        self._database = database
        self._client = client
        self._data_dir = data_dir
        self._host_name = host_name
        self._progress = progress
        self._reach = reach
        # By guild: the size in bytes of the smallest file that Discord refused, and until when that is believed.
        self._refused: dict[int, tuple[int, float]] = {}

    async def fits(self, video: Video) -> bool:
        """Return True if the voting thread exists and takes a file of the video's size."""
        round_ = await rounds.get(self._database, video.round_id)
        try:
            thread = await self._client.thread(round_.thread_id or 0)
        except (discord.NotFound, discord.Forbidden):
            return False
        return (video.size_bytes or 0) <= self.limit_of(thread.guild)

    async def post(self, video: Video, *, again: bool, until_hosted: Callable[[], Awaitable[Video]]) -> PostedCard:
        """Post the card with its file or, where Discord does not take the file, with the host's address alone.

        `again` means that an earlier attempt may have got through. `until_hosted` waits for the host and returns the
        video with its address; what it raises is raised here. Raises PostError when the card can never be posted.
        """
        round_ = await rounds.get(self._database, video.round_id)
        try:
            thread = await self._client.thread(round_.thread_id or 0)
            message, shown_video = await self._send(thread, video, again=again, until_hosted=until_hosted)
        except (discord.NotFound, discord.Forbidden) as error:
            if passes(error):
                raise
            raise PostError("The voting thread was deleted, or I can no longer post in it.") from None
        return PostedCard(thread.id, message.id, shown_video.link is not None)

    async def _send(
        self, thread: discord.Thread, video: Video, *, again: bool, until_hosted: Callable[[], Awaitable[Video]]
    ) -> tuple[discord.Message, Video]:
        """Return the message, and the video as its card shows it."""
        limit = self.limit_of(thread.guild)
        file, media_url = await attachment(video, self._data_dir, limit, self._reach)
        send = partial(post_once, thread, nonce=video.id, mark=video_cards.custom_id("up", video.id), again=again)
        if file is not None:
            size = len(file.fp.read())
            file.fp.seek(0)
            try:
                return await send(video_cards.video_card(video, media_url, self._host_name), file=file), video
            except discord.HTTPException as error:
                if not is_too_large(error):
                    raise
                log.warning("Discord refused a file of %d bytes (HTTP %d, %d).", size, error.status, error.code)
                limit = self.note_refusal(thread.guild, size)
        elif not media_url and (video.size_bytes or 0) <= limit:
            raise PostError("The file of your video was lost before it could be posted.")
        video = await until_hosted()
        return await send(video_cards.video_card(video, video.playback_url or "", self._host_name)), video

    def limit_of(self, guild: discord.Guild) -> int:
        """Return the largest size of a file in bytes: as Discord states it, or less if it has refused a smaller one."""
        refused, until = self._refused.get(guild.id, (0, 0.0))
        usual = int(guild.filesize_limit)
        return min(usual, refused - 1) if time.monotonic() < until else usual

    def note_refusal(self, guild: discord.Guild, size: int) -> int:
        """Remember that Discord refused a file of so many bytes, and return the largest size that it may take."""
        limit = min(size - 1, self.limit_of(guild))
        self._refused[guild.id] = limit + 1, time.monotonic() + TRUST_REFUSAL_S
        return limit

    async def take_back(self, card: PostedCard) -> None:
        """Delete a card that came too late."""
        try:
            thread = await self._client.thread(card.thread_id)
            await thread.get_partial_message(card.message_id).delete()
        except discord.HTTPException as error:
            log.warning("A card that came too late could not be deleted: HTTP %s.", error.status)

    async def add_link(self, video_id: str) -> None:
        """Put the link on a card that was posted without it. Whichever comes last, card or link, calls this."""
        try:
            async with self._progress.editing(video_id):  # a card that is removed in the meantime stays removed
                video = await videos.get(self._database, video_id)
                if video.status != VideoStatus.PUBLISHED or not video.link:
                    return
                thread = await self._client.thread(video.thread_id or 0)
                if thread.archived:
                    return  # the round is over, and `/standings` has the link
                await self._draw_again(video, thread)
        except ThreadArchivedError:
            return  # as above, since it was looked at
        except discord.HTTPException as error:
            if passes(error):
                raise
            log.warning("The link could not be added to the card of video %s: HTTP %s.", video_id, error.status)

    async def close_card(self, video_id: str) -> None:
        """Take the buttons for votes from the card of a video whose round is closed, unless `show_votes` did it."""
        try:
            async with self._progress.editing(video_id):
                video = await videos.get(self._database, video_id)
                if video.status != VideoStatus.PUBLISHED:
                    return
                thread = await self._client.thread(video.thread_id or 0)
                if thread.archived:  # else none of its messages can be edited
                    thread = await thread.edit(archived=False)
                await self._draw_again(video, thread)
        except ThreadArchivedError:
            raise TimeoutError("The thread was archived meanwhile.") from None  # it passes: the next try opens it
        except discord.NotFound:
            log.info("The card of video %s is gone already.", video_id)
        except discord.HTTPException as error:
            if passes(error):
                raise
            log.warning("The card of video %s still has its buttons for votes: HTTP %s.", video_id, error.status)

    async def show_votes(self, video_id: str) -> tuple[str, bool]:
        """Bring the votes on a card up to date. Return the line that it shows, and True if that took an edit.

        Raises ThreadArchivedError, and what Discord answers.
        """
        async with self._progress.editing(video_id):  # a card that is removed in the meantime stays removed
            video = await videos.get(self._database, video_id)
            line = video_cards.votes_line(await self._votes_on(video))
            if video.status != VideoStatus.PUBLISHED:
                return line, False
            thread = await self._client.thread(video.thread_id or 0)
            message = await thread.fetch_message(video.message_id or 0)
            found = marks(message)
            if line in found:
                return line, False
            if thread.archived:
                round_ = await rounds.get(self._database, video.round_id)
                if round_.status == RoundStatus.CLOSED and video_cards.custom_id("up", video_id) in found:
                    return line, False  # an earlier version closed it; a card of this one is drawn by `close_card`
                raise ThreadArchivedError
            votes, edited = await self._draw_again(video, thread, message)
            return video_cards.votes_line(votes), edited

    async def reopen(self, thread_id: int) -> None:
        """Open the thread of an open round again, which Discord archives after a week without a message.

        Raises ThreadLockedError, and what Discord answers.
        """
        thread = cast(discord.Thread, await self._client.fetch_channel(thread_id))  # the cache may not know of the lock
        if thread.locked:
            raise ThreadLockedError
        await thread.edit(archived=False)

    @asynccontextmanager
    async def opened(self, thread_id: int) -> AsyncIterator[None]:
        """Open the archived thread of a closed round, and close it again at the end."""
        thread = await self._client.thread(thread_id)
        await thread.edit(archived=False)
        try:
            yield
        finally:
            try:
                await thread.edit(archived=True, locked=True)
            except (discord.DiscordException, aiohttp.ClientError, OSError, *UNREADABLE) as error:
                log.warning("The thread %s of a closed round stays open (%s).", thread_id, type(error).__name__)

    async def _votes_on(self, video: Video) -> CardVotes:
        return next((posted.votes for posted in await votes_on_cards(self._database, [video.id])), CardVotes())

    async def _draw_again(
        self, video: Video, thread: discord.Thread, message: discord.Message | None = None
    ) -> tuple[CardVotes, bool]:
        """Edit a card, so that it shows video, votes and round as they are now. Its file stays.

        Return the votes, and True if that took an edit: two may want to show the same, such as the close of a round.
        Raises ThreadArchivedError, and what Discord answers.
        """
        message = message or await thread.fetch_message(video.message_id or 0)
        name = attachment_name(video)
        attached = [each for each in message.attachments if each.filename == name]
        media_url = f"attachment://{name}" if attached else video.playback_url or ""
        votes = await self._votes_on(video)
        round_ = await rounds.get(self._database, video.round_id)
        closed = round_ if round_.status == RoundStatus.CLOSED else None
        card = video_cards.video_card(video, media_url, self._host_name, votes=votes, closed=closed)
        if len(attached) == len(message.attachments) and is_shown(card, message):
            return votes, False
        try:
            await message.edit(view=card, attachments=attached)
        except discord.HTTPException as error:
            if error.code == _THREAD_ARCHIVED:  # by another editor, since it was looked at
                raise ThreadArchivedError from error
            raise
        return votes, True

    async def empty_card(self, video_id: str) -> None:
        """Replace video, prompt and buttons of a card by a sentence. The thread of a closed round is opened for it."""
        video = await videos.get(self._database, video_id)
        round_ = await rounds.get(self._database, video.round_id)
        try:
            thread = await self._client.thread(video.thread_id or 0)
            if thread.archived:
                thread = await thread.edit(archived=False)
            async with self._progress.editing(video_id):
                message = thread.get_partial_message(video.message_id or 0)
                await message.edit(view=video_cards.removed_card(video), attachments=[])
            if round_.status == RoundStatus.CLOSED:
                await thread.edit(archived=True, locked=True)
        except discord.NotFound:
            log.info("The card of video %s is gone already.", video_id)
        except discord.HTTPException as error:
            if passes(error):
                raise
            log.error("The card of video %s could not be emptied: HTTP %s. Delete it by hand.", video_id, error.status)
