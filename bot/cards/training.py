"""The messages about training: the notice that each member reads once, and their own state."""

from __future__ import annotations

from discord import ui

from bot.cards import layout
from bot.domain.training import TrainingState

USE = (
    "Your prompts, your votes and your feedback train this server's video model, and may be exported as a data set "
    "that names you by a pseudonym. That is what you give by commands, buttons and forms; your messages are never read."
)
NO_WAY_BACK = "What was exported before cannot be called back."
CANNOT_UNLEARN = f"{NO_WAY_BACK} The ledger keeps its votes."


def notice() -> ui.LayoutView:
    """Return the note that a member reads once."""
    return layout.note(
        f"🧠 **What yours is used for**\n{USE} `/training opt-out` leaves everything of yours out from then on. "
        f"{NO_WAY_BACK}\n-# You see this once. `/help` shows your choice."
    )


def opted_out() -> ui.LayoutView:
    """Return the answer to `/training opt-out`."""
    return layout.note(
        "🧠 You have opted out. Your prompts and their videos, your votes and your feedback are left out of every data "
        f"set from now on, also those that you gave before. {CANNOT_UNLEARN} Your votes still count in rounds. "
        "`/training opt-in` reverses this."
    )


def opted_in() -> ui.LayoutView:
    """Return the answer to `/training opt-in`."""
    return layout.note(f"🧠 You take part, also with what you gave before. {USE} `/training opt-out` ends that.")


def state_line(state: TrainingState) -> str:
    """Return a member's state in a sentence, for `/help`."""
    if state.is_in:
        return f"{USE} `/training opt-out` ends that."
    if state.has_read:
        return "You have opted out: nothing of yours is exported for training any more. `/training opt-in` reverses it."
    return (
        "Nothing of yours is used for training yet: you are told first, after your first prompt, vote or feedback. "
        "`/training opt-out` keeps it so."
    )
