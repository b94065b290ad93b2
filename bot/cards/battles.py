"""The messages of a battle round: its announcement, a pair for one member, and the verdict.

A pair's card says nothing of its sides before its member's choice is final: names, order and words are the same for
every pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import discord
from discord import ui

from bot.cards.layout import quote, row, sentence, view_of
from bot.cards.limits import Button, Item, text_item
from bot.cards.videos import AI_LABEL
from bot.domain.amounts import amount
from bot.domain.battles import Battle, PairCount, PairView, Verdict, VerdictState
from migrations.states.battles import BattleChoice
from migrations.states.community import RoundStatus

BUTTON_ID = r"b1:(?P<action>a|b|tie|both_bad|next|start|remove):(?P<id>[0-9]{1,18})"
NAMES = ("a.mp4", "b.mp4")  # of the files, for every pair the same
CHOICE_WORDS = {
    BattleChoice.A: "A is better",
    BattleChoice.B: "B is better",
    BattleChoice.TIE: "a tie",
    BattleChoice.BOTH_BAD: "both are bad",
}
MOST_SENTENCES = 1800  # units of the gate's sentences
_LABELS = {
    BattleChoice.A: ("A", "🅰️"),
    BattleChoice.B: ("B", "🅱️"),
    BattleChoice.TIE: ("Tie", "🤝"),
    BattleChoice.BOTH_BAD: ("Both bad", "👎"),
}
_STATES = {
    VerdictState.RELEASED: "✅ the candidate wins",
    VerdictState.REFUSED: "⛔ the candidate is refused",
    VerdictState.UNDECIDED: "⚖️ undecided, so the live model stays",
}


def custom_id(action: str, number: int) -> str:
    """Return the id of a button; `number` is a round's for `start`, else a pair's."""
    return f"b1:{action}:{number}"


def announcement_mark(battle: Battle) -> str:
    """Return the text by which an announcement is found again."""
    return f"## ⚔️ Battle round {battle.round.number}: "


def announcement(battle: Battle, pairs: PairCount) -> ui.LayoutView:
    """Return the announcement of a battle round, as the round is now."""
    head = text_item(f"{announcement_mark(battle)}a new model against the live one")
    closes = battle.round.closes_at_ms // 1000
    if battle.round.status == RoundStatus.CLOSED:
        return view_of(head, text_item(f"🏁 This battle round closed <t:{closes}:R>."))
    if battle.round.status == RoundStatus.OPENING:
        progress = f"{pairs.all - pairs.waiting} of {amount(pairs.all, 'pair')}"
        return view_of(head, text_item(f"⏳ The videos are being made ({progress}). Voting opens when they are here."))
    return view_of(
        head,
        text_item(
            f"Both models made a video of the same prompt with the same seed, {amount(pairs.ready, 'pair')} in all. "
            f"You see some of them, without names. {amount(battle.size.pairs, 'pair')} make a full ballot.\n"
            f"Press the button, or use `/battle`. Only you see your pairs. The round closes <t:{closes}:R> "
            f"(<t:{closes}:f>), or earlier when the votes decide."
        ),
        text_item(f"-# Registered before the first vote: `{battle.registration_hash}`"),
        row(
            ui.Button(
                label="Show me a pair",
                emoji="⚔️",
                custom_id=custom_id("start", battle.round.id),
                style=discord.ButtonStyle.primary,
            )
        ),
    )


def pair_card(view: PairView, *, moderator: bool = False) -> ui.LayoutView:
    """Return a pair with its two videos, for one member; a moderator may also take it away."""
    items: list[Item] = [
        ui.MediaGallery(
            *(
                discord.MediaGalleryItem(f"attachment://{name}", description=f"AI-generated video {letter}")
                for letter, name in zip("AB", NAMES, strict=True)
            )
        ),
        text_item(f"### {quote(view.prompt, 300)}"),
        text_item(
            f"-# Battle round {view.round_number} · **A** is the first video, **B** the second · same prompt, same "
            f"seed · {AI_LABEL}"
        ),
        text_item(_choice_text(view)),
        text_item(_progress_text(view)),
    ]
    if view.interim is not None:
        items.append(text_item(f"The round so far:\n{verdict_text(view.interim)}"))
    if not view.is_final:
        items.append(row(*_choices(view), _next(view)))
    if moderator:
        items.append(row(ui.Button(label="Remove pair", emoji="🗑️", custom_id=custom_id("remove", view.pair_id))))
    return view_of(*items)


def _choices(view: PairView) -> Sequence[Button]:
    return [
        ui.Button(
            label=label,
            emoji=emoji,
            custom_id=custom_id(choice, view.pair_id),
            style=discord.ButtonStyle.success if choice == view.choice else discord.ButtonStyle.secondary,
        )
        for choice, (label, emoji) in _LABELS.items()
    ]


def _next(view: PairView) -> Button:
    return ui.Button(
        label="Next",
        emoji="➡️",
        custom_id=custom_id("next", view.pair_id),
        style=discord.ButtonStyle.primary,
        disabled=view.choice is None,
    )


def _choice_text(view: PairView) -> str:
    if view.choice is None:
        return f"Which video is better? The round closes <t:{view.closes_at_ms // 1000}:R>."
    sentence = f"You chose: **{CHOICE_WORDS[view.choice]}**."
    if not view.is_final:
        return f"{sentence} You can change it. **Next** makes it final, and shows you which video was whose."
    right = "A" if view.candidate_is_a else "B"
    if view.is_catch:
        return f"{sentence} This pair checked that votes are made with care: only **{right}** was made for this prompt."
    live_side = "B" if view.candidate_is_a else "A"
    return f"{sentence} **{right}** was the candidate's, **{live_side}** the live model's."


def _progress_text(view: PairView) -> str:
    progress = f"-# You: {view.answered} of {view.of}"
    if view.is_full:
        progress += " · your ballot is full, thank you"
    if not view.counts:
        progress += " · your votes don't count in this verdict, as you joined or voted here too recently"
    return progress


def verdict_mark(battle: Battle) -> str:
    """Return the text by which a verdict's post is found again."""
    return f"## ⚔️ Verdict of battle round {battle.round.number}: "


def verdict_card(battle: Battle, verdict: Verdict, pairs: PairCount) -> ui.LayoutView:
    """Return the verdict of a battle round: the gate's sentences and numbers, and which pairs were not shown."""
    lines = [*_left_out(pairs), f"-# Registered before the first vote: `{battle.registration_hash}`"]
    if battle.round.trouble:
        lines.insert(0, f"⚠️ {sentence(battle.round.trouble)}")
    return view_of(
        text_item(f"{verdict_mark(battle)}{_STATES[verdict.state]}"),
        text_item(verdict_text(verdict)),
        ui.Separator(),
        *(text_item(line) for line in lines),
    )


def _left_out(pairs: PairCount) -> list[str]:
    lines = []
    if pairs.left_out:
        lines.append(
            f"{pairs.left_out:,} of {amount(pairs.all, 'pair')} had to be left out: a video could not be made."
        )
    if pairs.removed:
        lines.append(
            f"A moderator removed {amount(pairs.removed, 'pair')}; votes that were cast on them before still count."
        )
    return lines


def verdict_text(verdict: Verdict) -> str:
    """Return the gate's sentences, and the numbers behind them."""
    sentences = sentence(" ".join(verdict.reasons), MOST_SENTENCES)
    low, high = verdict.interval_permille
    rate = f"Win rate **{verdict.win_rate_permille / 10:.0f} %** ({low / 10:.0f} to {high / 10:.0f} %)"
    if verdict.equal_motion_permille is not None:
        rate += f", {verdict.equal_motion_permille / 10:.0f} % at equal motion"
    evidence = (
        f"Evidence **{_milli(verdict.evidence_milli)}** of {verdict.evidence_needed:,} needed, without any "
        f"{verdict.survives_needed} voters (k)"
    )
    counts = f"{amount(verdict.votes, 'vote')} of {amount(verdict.voters, 'voter')}"
    if verdict.waiting:
        counts += f" · {amount(verdict.waiting, 'ballot')} not full"
    if verdict.held_out:
        counts += f" · {amount(verdict.held_out, 'voter')} not counted after a wrong answer to a check"
    return f"{sentences}\n{rate} · {evidence}\n-# {counts}"


def _milli(milli: int) -> str:
    return f"{milli / 1000:.1f}" if milli < 10_000 else f"{milli // 1000:,}"
