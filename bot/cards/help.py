"""The answer to `/help`: what this is, what to do now, and the commands that a member may use."""

from __future__ import annotations

from discord import ui

from bot.cards.layout import quote, view_of
from bot.cards.limits import text_item
from bot.cards.rounds import result_link
from bot.domain.rounds import Round
from migrations.states.community import RoundStatus

INTRODUCTION = (
    "### 👋 Make videos together\nAsk for a short video in your own words and vote on everybody's: the best one wins "
    "the round. Votes are recorded on a public ledger, where nobody can change them afterwards."
)
# Prompts that work, by model: the tiny one, which comes with FLock, knows only shapes, colours and motions.
_EXAMPLES = {
    "tiny": (
        "a red ball rolls to the left",
        "a yellow star spins at night",
        "a green square jumps up and down",
    )
}
_ANY_MODEL = (
    "a lighthouse in a storm, waves crash against the rocks",
    "a paper boat drifts down a rainy street, close-up",
    "a fox walks through fresh snow at sunrise, slow pan",
)
_MEMBERS = (
    ("/prompt", "make a video for the open round"),
    ("/videos", "your videos, and a way to cancel them"),
    ("/standings", "the votes so far, or the result of a round"),
    ("/receipt", "proof that your votes count"),
    ("/provenance", "how a video was made"),
    ("/wallet link", "sign your votes yourself, if you like"),
)
_MODERATORS = (
    ("/setup", "choose the channel for rounds"),
    ("/round open", "open a round"),
    ("/round close", "close it early"),
    ("/round status", "see where it stands"),
    ("/video remove", "take a video away"),
    ("/review list", "decide about held prompts and videos"),
)


def examples(model_id: str) -> tuple[str, ...]:
    """Return prompts that work with a model."""
    return _EXAMPLES.get(model_id, _ANY_MODEL)


def help_card(
    round_: Round | None, *, is_set_up: bool, is_moderator: bool, model_id: str, now_ms: int
) -> ui.LayoutView:
    """Return the answer to `/help`; `round_` is the latest round of the server, open or closed."""
    parts = [
        INTRODUCTION,
        f"**Now**\n{_now(round_, is_set_up, is_moderator, model_id, now_ms)}",
        _list("Commands", _MEMBERS),
    ]
    if is_moderator:
        parts.append(_list("For moderators", _MODERATORS))
    return view_of(*map(text_item, parts))


def _now(round_: Round | None, is_set_up: bool, is_moderator: bool, model_id: str, now_ms: int) -> str:
    """Return what a member can do at the moment."""
    opens = "Open one with `/round open`." if is_moderator else "A moderator opens the next one."
    if round_ is None:
        if is_set_up:
            return f"There has been no round yet. {opens}"
        set_up = (
            "Choose a channel with `/setup`" if is_moderator else "A moderator has to choose a channel with `/setup`"
        )
        return f"{set_up} before rounds can begin."
    if round_.status == RoundStatus.OPENING:
        return f"Round {round_.number} is being opened. Try `/help` again in a moment."
    if not round_.accepts_votes(now_ms):
        link = result_link(round_)
        result = (
            f"[See the result]({link}) of round {round_.number}." if link else "`/standings` shows the last result."
        )
        return f"No round is open. {opens} {result}"
    tries = "\n".join(f"`/prompt text:{example}`" for example in examples(model_id))
    closes = f"<t:{round_.closes_at_ms // 1000}:R>"
    return (
        f"Round {round_.number} is open: **{quote(round_.task, 200)}**. It closes {closes}.\n"
        f"1. Ask for a video, for example:\n{tries}\n"
        f"2. Vote with the buttons in <#{round_.thread_id}>."
    )


def _list(heading: str, commands: tuple[tuple[str, str], ...]) -> str:
    return "\n".join([f"**{heading}**", *(f"`{name}`: {words}" for name, words in commands)])
