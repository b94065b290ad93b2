"""The posts of a round on Discord: its announcement with its thread, and its result. Each is posted once.

No answer of Discord raises here, except in `show_result`: what is in the way is returned as an `Obstacle`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import discord
from discord import ui
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import rounds as round_cards
from bot.cards.results import result_card, shown_winner
from bot.client import Client
from bot.domain.rounds import Round
from bot.domain.standings import Outcome
from bot.files.attachments import attachment_name
from bot.ledger_status import LedgerStatus
from bot.posts.obstacles import UNFORESEEN, Obstacle, attempt, obstacle
from bot.posts.once import find_ours, post_once
from bot.posts.winners import Media, WinnerVideos
from bot.retry import passes
from bot.round_results import Results
from bot.store import rounds

log = logging.getLogger(__name__)

OPENING_S = 600.0  # an outage of Discord while a moderator waits: an interaction can be answered for 15 minutes
RESULT_S = 15.0  # then the result is left to `recovery`, and the workflow goes on with the ledger
_THREAD_EXISTS = 160004


class RoundPosts:
    """Posts and edits what the rows of rounds say."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        client: Client,
        results: Results,
        ledger_status: LedgerStatus,
        winners: WinnerVideos,
    ) -> None:
        self._database = database
        self._winners = winners
        self._client = client
        self._results = results
        self._ledger_status = ledger_status

    # ------------------------------------------------------------------ the opening

    async def announce(self, round_: Round, unwanted: Callable[[], Awaitable[bool]]) -> int | Obstacle:
        """Post the announcement. Return its id, or what is in its way."""

        async def post() -> int:
            return await self._post_once(
                round_.channel_id, round_, round_cards.announcement(round_), "open", _mark(round_)
            )

        return await attempt(self._client, round_.channel_id, post, seconds=OPENING_S, unwanted=unwanted)

    async def open_thread(self, round_: Round, unwanted: Callable[[], Awaitable[bool]]) -> int | Obstacle:
        """Open the voting thread on the announcement. Return its id, or what is in its way."""

        async def open_thread() -> int:
            channel = await self._client.channel(round_.channel_id)
            announcement = await channel.fetch_message(round_.announcement_id or 0)
            if announcement.thread is not None or announcement.flags.has_thread:
                return int(announcement.id)  # a message's thread has its message's id
            try:
                thread = await announcement.create_thread(
                    name=round_cards.thread_name(round_), auto_archive_duration=10080
                )
            except discord.HTTPException as error:
                if error.code != _THREAD_EXISTS:
                    raise
                return int(announcement.id)
            return int(thread.id)

        return await attempt(self._client, round_.channel_id, open_thread, seconds=OPENING_S, unwanted=unwanted)

    # ------------------------------------------------------------------ the end

    async def end(self, round_: Round, seconds: float | None = None) -> Obstacle | None:
        """Post the result of a closed round, once, or let its announcement say that it could not be opened.

        Returns what is in the way. The row keeps that until the post is done.
        """
        if round_.result_message_id is not None:
            return None
        seconds = RESULT_S if seconds is None else seconds
        if not round_.opened:
            return await self._tidy(round_, seconds)
        try:
            obstacle_ = await self._post_result(round_, seconds)
        except Exception as error:
            if passes(error):
                raise  # the database, for example: it is waited for
            log.exception("The result of round %s could not be put together.", round_.id)
            obstacle_ = Obstacle(UNFORESEEN)
        if obstacle_ is not None:
            await rounds.change(self._database, round_.id, trouble=obstacle_.sentence)
        return obstacle_

    async def _post_result(self, round_: Round, seconds: float) -> Obstacle | None:
        outcome = await self._results.of(round_)
        best = outcome.best.video.id if outcome.best else None
        await rounds.change(self._database, round_.id, winner_video_id=best)
        first: Obstacle | None = None
        for channel_id in await self._places(round_):

            async def post(place: int = channel_id) -> int:
                return await self._post_result_in(place, round_, outcome)

            posted = await attempt(self._client, channel_id, post, seconds=seconds)
            if not isinstance(posted, Obstacle):
                await rounds.change(
                    self._database, round_.id, result_message_id=posted, channel_id=channel_id, trouble=None
                )
                if (await rounds.get(self._database, round_.id)).finalized_tx != round_.finalized_tx:
                    await self.show_result(round_.id)  # it became final on the ledger while its result was being posted
                return None
            first = first or posted
            if posted.passes:
                break  # it may have got through: it is looked for in that channel
        log.error("The result of round %s is not posted: %s", round_.id, first.sentence if first else "")
        return first

    async def _post_result_in(self, channel_id: int, round_: Round, outcome: Outcome) -> int:
        """Post the result with the winner's video; where Discord does not take the file, without it. Return its id."""
        ledger = await self._ledger_status.summary(round_)
        mark = f"## Round {round_.number} is "

        async def post(media: Media) -> int:
            card = result_card(round_, outcome, ledger, media.url)
            return await self._post_once(channel_id, round_, card, "result", mark, media.file)

        entry = shown_winner(outcome)
        if entry is None:
            return await post(Media())
        guild = (await self._client.channel(channel_id)).guild
        media = await self._winners.media(entry.video, guild)
        try:
            return await post(media)
        except discord.HTTPException as error:
            if media.file is None:
                raise
            return await post(await self._winners.without_file(entry.video, guild, error))

    async def _places(self, round_: Round) -> list[int]:
        """Return the channel of the round, then that of a later `/setup`."""
        now = await rounds.rounds_channel_or_none(self._database, round_.guild_id)
        return [round_.channel_id] if now is None or now == round_.channel_id else [round_.channel_id, now]

    async def _tidy(self, round_: Round, seconds: float) -> Obstacle | None:
        """Edit the announcement and its thread, so that neither says any longer that the round is open."""

        async def edit() -> int | None:
            channel = await self._client.channel(round_.channel_id)
            if round_.announcement_id is None:
                message = await find_ours(channel, _mark(round_))
                if message is None:
                    return None
            else:
                message = await channel.fetch_message(round_.announcement_id or 0)
            if message.thread is not None:
                await message.thread.edit(locked=True, archived=True)
            await message.edit(view=round_cards.not_opened(round_))
            return int(message.id)

        edited = await attempt(self._client, round_.channel_id, edit, seconds=seconds)
        if isinstance(edited, Obstacle):
            if not edited.is_gone:
                log.warning("The announcement of round %s still says that it is open: %s", round_.id, edited.sentence)
                return edited
            edited = round_.announcement_id
        if edited is not None:  # it is the last word about this round
            await rounds.change(self._database, round_.id, announcement_id=edited, result_message_id=edited)
        return None

    async def close_announcement(self, round_: Round) -> Obstacle | None:
        """Let the announcement say that its round is closed, and link the result. Return what is in the way."""

        async def edit() -> None:
            channel = await self._client.channel(await self._announced_in(round_))
            await channel.get_partial_message(round_.announcement_id or 0).edit(
                view=round_cards.closed_announcement(round_)
            )

        return await self._close("announcement", round_, edit)

    async def close_thread(self, round_: Round) -> Obstacle | None:
        """Say once in the thread that its round is closed, and lock it; its messages can still be edited.

        A thread that is archived already is archived again. Return what is in the way.
        """

        async def close() -> None:
            thread = await self._client.thread(round_.thread_id or 0)
            was_archived = thread.archived
            if was_archived:
                thread = await thread.edit(archived=False)
            note, mark = round_cards.closing_note(round_), round_cards.closing_mark(round_)
            earlier = await find_ours(thread, mark)
            if earlier is None:
                await self._post_once(thread.id, round_, note, "closed", mark)
            else:  # it may have been posted before the result
                await earlier.edit(view=note)
            await thread.edit(locked=True, archived=was_archived)

        return await self._close("thread", round_, close)

    async def archive(self, round_: Round) -> Obstacle | None:
        """Lock and archive the thread of a closed round. Return what is in the way."""

        async def archive() -> None:
            thread = await self._client.thread(round_.thread_id or 0)
            await thread.edit(locked=True, archived=True)

        return await self._close("thread", round_, archive)

    async def _close(self, name: str, round_: Round, call: Callable[[], Awaitable[None]]) -> Obstacle | None:
        closed = await attempt(self._client, round_.thread_id or round_.channel_id, call, seconds=RESULT_S)
        if not isinstance(closed, Obstacle):
            return None
        log.warning("The %s of round %s could not be closed: %s", name, round_.id, closed.sentence)
        return closed

    async def _announced_in(self, round_: Round) -> int:
        """Return the channel of the announcement, on which the thread hangs: the result may be in another one."""
        try:
            return (await self._client.thread(round_.thread_id or 0)).parent_id
        except (discord.NotFound, discord.Forbidden):
            return round_.channel_id

    async def show_result(self, round_id: int, *, patient: bool = False) -> None:
        """Bring the posted result up to date, if there is one.

        Where the ledger cannot be read, `patient` raises ChainUnreachableError; otherwise the database's record of it
        is shown. Raises what passes by itself; the caller tries again.
        """
        round_ = await rounds.get(self._database, round_id)
        outcome = await self._results.of(round_, patient=patient)
        best = outcome.best.video.id if outcome.best else None
        if best != round_.winner_video_id:
            await rounds.change(self._database, round_id, winner_video_id=best)
        if round_.result_message_id is None or round_.result_message_id == round_.announcement_id:
            return

        try:
            await self._edit_result(round_, outcome)
        except discord.NotFound as error:
            if passes(error):
                raise
            log.info("The result of round %s is gone: HTTP %s.", round_id, error.status)
        except Exception as error:
            if passes(error):
                raise
            in_the_way = obstacle(self._client, round_.channel_id, error)
            log.error("The result of round %s is not up to date: %s", round_id, in_the_way.sentence)
            await rounds.change(self._database, round_id, trouble=in_the_way.sentence)
            return
        await rounds.change(self._database, round_id, trouble=None)

    async def _edit_result(self, round_: Round, outcome: Outcome) -> None:
        """Edit the posted result. The file stays where it is the winner's; else the winner's file replaces it."""
        ledger = await self._ledger_status.summary(round_)
        channel = await self._client.channel(round_.channel_id)
        message = await channel.fetch_message(round_.result_message_id or 0)
        entry = shown_winner(outcome)
        if entry is None:
            await message.edit(view=result_card(round_, outcome, ledger), attachments=[])
            return
        name = attachment_name(entry.video)
        attached = [each for each in message.attachments if each.filename == name]
        if attached:
            await message.edit(view=result_card(round_, outcome, ledger, f"attachment://{name}"), attachments=attached)
            return
        media = await self._winners.media(entry.video, channel.guild)
        files = [media.file] if media.file is not None else []
        try:
            await message.edit(view=result_card(round_, outcome, ledger, media.url), attachments=files)
        except discord.HTTPException as error:
            if media.file is None:
                raise
            media = await self._winners.without_file(entry.video, channel.guild, error)
            await message.edit(view=result_card(round_, outcome, ledger, media.url), attachments=[])

    async def _post_once(
        self,
        channel_id: int,
        round_: Round,
        card: ui.LayoutView,
        kind: str,
        mark: str,
        file: discord.File | None = None,
    ) -> int:
        channel = await self._client.channel(channel_id)
        nonce = f"{kind}-{round_.id}"[:25]
        return (await post_once(channel, card, nonce=nonce, mark=mark, again=True, file=file)).id


def _mark(round_: Round) -> str:
    """Return the text by which an announcement is found again."""
    return f"## Round {round_.number}: "
