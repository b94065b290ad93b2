"""Every answer to an interaction goes out here, and every error becomes a sentence here: in time, and only to them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import discord
from discord import app_commands, ui
from sqlalchemy.exc import SQLAlchemyError

from bot.cards import layout
from bot.cards import reviews as review_cards
from bot.domain.errors import MemberError, PromptBlockedError

log = logging.getLogger(__name__)

PATIENCE_S = 2.0  # Discord gives up after 3 s: by then it has at least heard that we are at work
AGAIN_S = (0.1, 0.3, 0.6)  # pauses after a connection that broke
ANSWERED = 40060  # Discord's code for an interaction that has its answer already

BUSY = (
    "The database does not answer, so nothing was recorded. Please try again in a minute; the operator has been told."
)


@dataclass(frozen=True)
class Reply:
    """An answer with a file; `view` shows it as attachment://NAME."""

    view: ui.LayoutView
    name: str
    data: bytes

    def file(self) -> discord.File:
        """Anew for each attempt: what was sent once is read to its end."""
        return discord.File(io.BytesIO(self.data), filename=self.name)


async def answer(
    interaction: discord.Interaction[Any],
    work: Coroutine[Any, Any, ui.LayoutView | Reply],
    *,
    ephemeral: bool = True,
) -> None:
    """Does the work and sends what it returns. Errors of the work are always answered ephemerally."""
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        if not done:
            await insist(lambda: interaction.response.defer(ephemeral=ephemeral, thinking=True))
        reply = await task
        late = not done or interaction.response.is_done()
        send: Callable[..., Awaitable[Any]] = interaction.followup.send if late else interaction.response.send_message
        if isinstance(reply, Reply):
            await insist(lambda: send(view=reply.view, file=reply.file(), ephemeral=ephemeral))
        else:
            await insist(lambda: send(view=reply, ephemeral=ephemeral))
    except Exception as error:
        task.cancel()
        await answer_error(interaction, error)


async def insist(send: Callable[[], Awaitable[Any]]) -> None:
    """Sends an answer, again where the connection broke: what Discord has taken already, it refuses to take twice."""
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


async def answer_error(interaction: discord.Interaction[Any], error: BaseException) -> None:
    """Tells the member what happened and what to do next; what we did not foresee gets a reference and a trace."""
    view = _view_of(error)
    try:
        if interaction.response.is_done():
            if interaction.response.type in {
                discord.InteractionResponseType.deferred_channel_message,
                discord.InteractionResponseType.deferred_message_update,
            }:
                # A public "thinking…" would make the first follow-up public too.
                with contextlib.suppress(discord.HTTPException):
                    await interaction.delete_original_response()
            await insist(lambda: interaction.followup.send(view=view, ephemeral=True))
        else:
            await insist(lambda: interaction.response.send_message(view=view, ephemeral=True))
    except discord.NotFound:
        log.warning("An interaction expired before it could be answered.")
    except discord.HTTPException as failure:
        log.warning("An error could not be told to a member: HTTP %s.", failure.status)
    except (aiohttp.ClientError, OSError) as failure:
        log.warning("An error could not be told to a member: %s.", type(failure).__name__)


def _view_of(error: BaseException) -> ui.LayoutView:
    if isinstance(error, PromptBlockedError):
        return review_cards.blocked_card(error.sentence, error.review_id)
    return layout.note(sentence_of(error))


def sentence_of(error: BaseException) -> str:
    """The sentence for a member."""
    while isinstance(error, app_commands.CommandInvokeError):
        error = error.original
    if isinstance(error, MemberError):
        return error.sentence
    if isinstance(error, SQLAlchemyError):
        log.error("The database failed: %s", type(error).__name__)
        return BUSY
    if isinstance(error, discord.Forbidden):
        return "Discord does not let me do that here. A moderator can run `/setup` to see which permission is missing."
    if isinstance(error, app_commands.CheckFailure):
        return "You may not use that command here. Ask a moderator of this server."
    reference = secrets.token_hex(4)
    log.error("Unforeseen error, reference %s", reference, exc_info=error)
    return f"Something went wrong on our side. Please try again; if it stays, tell the operator this: `{reference}`."


def first_text(components: Any) -> str:
    """The value of the first text input in a modal's nested components."""
    for component in components if isinstance(components, list) else [components]:
        if isinstance(component, dict):
            if isinstance(component.get("value"), str):
                return str(component["value"])
            found = first_text(component.get("components", [])) or first_text(component.get("component", []))
            if found:
                return found
    return ""
