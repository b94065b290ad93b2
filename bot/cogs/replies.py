"""Replies to interactions: every answer is sent from here in time, and every error becomes a sentence for its member.

Errors are always ephemeral: nobody else reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from weakref import WeakValueDictionary

import aiohttp
import discord
from discord import app_commands, ui
from sqlalchemy.exc import SQLAlchemyError

from bot.cards import layout
from bot.cards import limits as card_limits
from bot.cards import reviews as review_cards
from bot.client import Interaction
from bot.domain.errors import MemberError, PromptBlockedError
from bot.retry import UNREADABLE

log = logging.getLogger(__name__)

PATIENCE_S = 2.0  # Discord gives up after 3 s: by then it must have had a first answer
MOST_ANSWER = 2000  # units of an answer that repeats what a member had typed
TYPED_NAME = "your-text.txt"
AGAIN_S = (0.1, 0.3, 0.6)  # the pauses after a connection that broke
EDIT_S = 0.8  # of that, for the edits of earlier confirmations
TOKEN_S = 14.5 * 60  # an interaction's token lives for 15 minutes
MOST_KEPT = 2000  # members' confirmations of videos
MOST_OF_A_VIDEO = 2  # confirmations of one vote: the one that was pressed, and a later one
ANSWERED = 40060  # Discord's code for an interaction that already has its answer

BUSY = (
    "The database isn't responding, so nothing was recorded. Please try again in a minute. "
    "The operator can see it in the log."
)


@dataclass(frozen=True)
class Reply:
    """An answer with a file; `view` shows it as attachment://NAME."""

    view: ui.LayoutView
    name: str
    data: bytes

    def file(self) -> discord.File:
        """Return the file, a new one for each attempt: sending a file reads it to its end."""
        return discord.File(io.BytesIO(self.data), filename=self.name)


async def answer(
    interaction: Interaction, work: Coroutine[object, None, ui.LayoutView | Reply], *, ephemeral: bool = True
) -> None:
    """Do the work and send what it returns. Errors of the work are always answered ephemerally."""
    task = asyncio.create_task(work)
    try:
        finished, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        if not finished:
            await insist(lambda: interaction.response.defer(ephemeral=ephemeral, thinking=True))
        reply = await task
        late = not finished or interaction.response.is_done()
        send: Callable[..., Awaitable[object]] = (
            interaction.followup.send if late else interaction.response.send_message
        )
        if isinstance(reply, Reply):
            await insist(lambda: send(view=reply.view, file=reply.file(), ephemeral=ephemeral))
        else:
            await insist(lambda: send(view=reply, ephemeral=ephemeral))
    except Exception as error:
        task.cancel()
        await answer_error(interaction, error)


@dataclass(frozen=True)
class _Kept:
    """A confirmation that can still be edited by the token of the interaction which it answered, and until when."""

    interaction: Interaction
    until: float


class Confirmations:
    """One confirmation for each member and video, which is edited as the vote changes, rather than one for each press.

    The tokens by which they are edited live for 15 minutes and are kept in memory alone. A press on an old confirmation
    edits that one, with a new token.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], list[_Kept]] = OrderedDict()
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def answer(
        self, interaction: Interaction, video_id: str, work: Coroutine[object, None, ui.LayoutView]
    ) -> None:
        """Do the work and show what it returns: on the earlier confirmation where it can be edited, else on a new one.

        The press is acknowledged in time, whatever takes long. Errors of the work get messages of their own.
        """
        key = (interaction.user.id, video_id)
        is_own = interaction.message is not None and interaction.message.flags.ephemeral
        task = asyncio.create_task(work)
        try:
            finished, _ = await asyncio.wait({task}, timeout=PATIENCE_S - EDIT_S)
            if not finished:
                await insist(lambda: interaction.response.defer(ephemeral=True, thinking=not is_own))
            view = await task
            lock = self._locks.setdefault(key, asyncio.Lock())
            waits = finished and not is_own and lock.locked()  # for the answers to earlier presses
            if waits:
                await insist(interaction.response.defer)
            async with lock:  # in the order in which the votes were recorded
                if is_own or not finished:
                    await self._send(interaction, view, is_own=is_own)
                    await self._edit(key, view)
                elif await self._edit(key, view):
                    if not waits:
                        await insist(interaction.response.defer)
                    return
                else:
                    await self._send(interaction, view, is_own=False)
                    if waits:
                        return  # what its token edits is the card, which is no confirmation
                self._keep(key, interaction)
        except Exception as error:
            task.cancel()
            await answer_error(interaction, error)

    def exist(self, member_id: int) -> bool:
        """Return True if a member has a confirmation that may be edited."""
        return any(member == member_id for member, _ in self._kept)

    async def show(self, member_id: int, video_id: str, view: ui.LayoutView) -> None:
        """Show on a member's confirmations, if there are any, what became of the vote other than by a press."""
        key = (member_id, video_id)
        if key in self._kept:
            async with self._locks.setdefault(key, asyncio.Lock()):
                await self._edit(key, view)

    async def _send(self, interaction: Interaction, view: ui.LayoutView, *, is_own: bool) -> None:
        if interaction.response.is_done() and is_own:
            await insist(lambda: interaction.edit_original_response(view=view))
        elif interaction.response.is_done():
            await insist(lambda: interaction.followup.send(view=view, ephemeral=True))  # in place of "thinking…"
        elif is_own:
            await insist(lambda: interaction.response.edit_message(view=view))
        else:
            await insist(lambda: interaction.response.send_message(view=view, ephemeral=True))

    async def _edit(self, key: tuple[int, str], view: ui.LayoutView) -> bool:
        """Edit the kept confirmations, and forget those that cannot be edited. Return True if one was."""
        now = asyncio.get_running_loop().time()
        kept = [each for each in self._kept.get(key, []) if each.until > now]
        edited = [each for each in kept if await self._edit_kept(each, view)]
        if edited:
            self._kept[key] = edited
        else:
            self._kept.pop(key, None)
        return bool(edited)

    async def _edit_kept(self, kept: _Kept, view: ui.LayoutView) -> bool:
        try:
            async with asyncio.timeout(EDIT_S / MOST_OF_A_VIDEO):
                await kept.interaction.edit_original_response(view=view)
        except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, *UNREADABLE) as error:
            code = error.code if isinstance(error, discord.HTTPException) else type(error).__name__
            log.info("A confirmation can't be edited any more (%s).", code)  # and nothing of its address, a secret
            return False
        return True

    def _keep(self, key: tuple[int, str], interaction: Interaction) -> None:
        until = asyncio.get_running_loop().time() + TOKEN_S
        self._kept.setdefault(key, []).append(_Kept(interaction, until))
        del self._kept[key][:-MOST_OF_A_VIDEO]
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


async def send_form(interaction: Interaction, form: ui.Modal) -> None:
    """Send a form. `Buttons` answers it by its custom id, also when the bot restarts in between.

    A form must be the first answer to an interaction: whatever comes before it has PATIENCE_S.
    """
    form.stop()  # discord.py then does not wait for it
    await insist(lambda: interaction.response.send_modal(form))


async def insist(send: Callable[[], Awaitable[object]]) -> None:
    """Send an answer, again if the connection broke. Discord rejects an answer that it already has."""
    for pause in (*AGAIN_S, None):
        try:
            await send()
        except discord.HTTPException as error:
            if error.code != ANSWERED:
                raise
        except (aiohttp.ClientError, OSError):
            if pause is None:
                raise
            await asyncio.sleep(pause)
            continue
        return


async def answer_error(interaction: Interaction, error: BaseException) -> None:
    """Tell the member what happened and what to do next. An unforeseen error gets a reference, and a trace in the log.

    Raises nothing that Discord or the connection to it causes.
    """
    reply = _reply_of(error)
    try:
        if interaction.response.is_done():
            # (The original of a deferred update is the message of the button: it stays.)
            if interaction.response.type is discord.InteractionResponseType.deferred_channel_message:
                # A public "thinking…" would make the first follow-up public too.
                with contextlib.suppress(discord.HTTPException):
                    await interaction.delete_original_response()
            await _send_alone(interaction.followup.send, reply)
        else:
            await _send_alone(interaction.response.send_message, reply)
    except discord.NotFound:
        log.warning("An interaction expired before it could be answered.")
    except discord.HTTPException as failure:
        log.warning("An error could not be told to a member: HTTP %s.", failure.status)
    except (aiohttp.ClientError, OSError) as failure:
        log.warning("An error could not be told to a member: %s.", type(failure).__name__)


async def _send_alone(send: Callable[..., Awaitable[object]], reply: ui.LayoutView | Reply) -> None:
    """Send an answer that only the member sees."""
    if isinstance(reply, Reply):
        await insist(lambda: send(view=reply.view, file=reply.file(), ephemeral=True))
    else:
        await insist(lambda: send(view=reply, ephemeral=True))


def _reply_of(error: BaseException) -> ui.LayoutView | Reply:
    """Return the answer to an error, with what the member had typed: as a block, or as a file where it is too long."""
    while isinstance(error, app_commands.CommandInvokeError):
        error = error.original
    sentence = sentence_of(error)
    typed = (error.typed or "") if isinstance(error, MemberError) else ""
    copy = layout.copyable(typed)
    if isinstance(error, PromptBlockedError):
        fits = card_limits.length(f"{sentence}{copy}") <= MOST_ANSWER
        return review_cards.blocked_card(sentence, error.review_id, copy if fits else "")
    if card_limits.length(f"{sentence}{copy}") <= MOST_ANSWER:
        return layout.note(f"{sentence}{copy}")
    text: card_limits.Item = card_limits.text_item(f"{sentence}\n-# Your text is in the file below.")
    return Reply(layout.view_of(text, ui.File(f"attachment://{TYPED_NAME}")), TYPED_NAME, f"{typed}\n".encode())


def sentence_of(error: BaseException) -> str:
    """Return the sentence for a member."""
    while isinstance(error, app_commands.CommandInvokeError):
        error = error.original
    if isinstance(error, MemberError):
        return error.sentence
    if isinstance(error, SQLAlchemyError):
        log.error("The database failed: %s", type(error).__name__)
        return BUSY
    if isinstance(error, discord.Forbidden):
        return "Discord doesn't let me do that here. A moderator can run `/setup` to see which permission is missing."
    if isinstance(error, app_commands.CheckFailure):
        return "You can't use that command here. Please ask a moderator of this server."
    reference = secrets.token_hex(4)
    log.error("Unforeseen error, reference %s", reference, exc_info=error)
    return (
        "Something went wrong on our side. Please try again. If it keeps happening, give the operator this reference: "
        f"`{reference}`."
    )
