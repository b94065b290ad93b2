"""The messages about a round: its announcement, and its status for moderators."""

from __future__ import annotations

from discord import ui

from bot.cards import limits
from bot.cards.layout import quote, sentence, view_of
from bot.cards.limits import text_item
from bot.domain.amounts import amount
from bot.domain.rounds import Round
from migrations.states.community import RoundStatus


def announcement(round_: Round) -> ui.LayoutView:
    """Return the announcement of a round for the rounds channel; the round's thread hangs on this message."""
    closes = round_.closes_at_ms // 1000
    return view_of(
        text_item(f"## Round {round_.number}: {quote(round_.task, 200)}"),
        text_item(
            "Use `/prompt` to make a video, and vote in the thread below with the buttons or with 👍 and 👎.\n"
            f"The round closes <t:{closes}:R> (<t:{closes}:f>)."
        ),
    )


def thread_name(round_: Round) -> str:
    """Return the name of a round's voting thread."""
    return limits.plain(f"Round {round_.number}: {round_.task}", limits.MOST_NAME)


def closed_announcement(round_: Round) -> ui.LayoutView:
    """Return what replaces the announcement of a closed round, with a link to its result once that is posted."""
    closed = round_.closes_at_ms // 1000
    return view_of(
        text_item(f"## Round {round_.number}: {quote(round_.task, 200)}"),
        text_item(f"🏁 This round closed <t:{closed}:R> (<t:{closed}:f>). {_result_words(round_)}"),
    )


def closing_mark(round_: Round) -> str:
    """Return the text by which the last message in a round's thread is found again."""
    return f"🏁 **Round {round_.number} is closed.**"


def closing_note(round_: Round) -> ui.LayoutView:
    """Return the last message in a round's thread, with a link to the result once that is posted."""
    return view_of(text_item(f"{closing_mark(round_)} Thanks for your videos and votes! {_result_words(round_)}"))


def result_link(round_: Round) -> str | None:
    """Return the link to the posted result of a round; None while there is none."""
    if round_.result_message_id is None or round_.result_message_id == round_.announcement_id:
        return None
    return f"https://discord.com/channels/{round_.guild_id}/{round_.channel_id}/{round_.result_message_id}"


def _result_words(round_: Round) -> str:
    link = result_link(round_)
    return "`/standings` shows the result." if link is None else f"[See the result]({link})"


def not_opened(round_: Round) -> ui.LayoutView:
    """Return what replaces the announcement of a round that could not be opened."""
    return view_of(
        text_item(f"## Round {round_.number}: {quote(round_.task, 200)}"),
        text_item("🚫 This round could not be opened and takes no prompts."),
    )


def status_text(round_: Round, published: int, under_way: int, feedback: int, reports: int, ledger: str) -> str:
    """Return the answer to `/round status`, for moderators; `ledger` says how far the round is on the ledger."""
    closed = round_.status == RoundStatus.CLOSED
    thread = f"<#{round_.thread_id}>" if round_.thread_id else "could not be opened" if closed else "(being opened)"
    time = f"<t:{round_.closes_at_ms // 1000}:R>"
    state = f"closed {time}" if closed else f"{round_.status} · closes {time}"
    trouble = f"⚠️ {sentence(round_.trouble)}\n" if round_.trouble else ""
    return (
        f"### Round {round_.number}: {quote(round_.task, 200)}\n"
        f"{thread} · {state}\n{trouble}"
        f"{amount(published, 'video')} posted, {under_way:,} in progress · "
        f"{amount(feedback, 'comment')} · {amount(reports, 'report')}\n"
        f"-# {ledger}"
    )
