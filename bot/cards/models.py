"""The messages about the model: its live release and history for members, and the answers to moderators."""

from __future__ import annotations

from collections.abc import Sequence

import discord
from discord import ui

from bot.cards import limits
from bot.cards.layout import note, sentence, view_of
from bot.cards.limits import MOST_REASON, shorten, text_item
from bot.domain.amounts import amount
from bot.domain.releases import Margin, Release, ReleaseFacts
from migrations.states.learning import ReleaseState

MOST_SHOWN = 10  # releases in the history
_STATES = {
    ReleaseState.LIVE: "live",
    ReleaseState.REPLACED: "replaced by a later one",
    ReleaseState.ROLLED_BACK: "taken back by a moderator",
}


def model_card(
    model_id: str, history: Sequence[ReleaseFacts], *, is_paused: bool, filmstrip: str | None = None
) -> ui.LayoutView:
    """Return the answer to `/model`; `history` has the newest release first.

    `filmstrip` is the name of the attached picture of the live release; None where there is none.
    """
    live = next((facts for facts in history if facts.release.state == ReleaseState.LIVE), None)
    if live is None:
        head = f"### 🧬 {model_id}, as it came\nNo release is live: new videos are made by the base model."
    else:
        head = f"### 🧬 {model_id}, release {live.release.number}\n{_shaped_by(live)}"
        head += f"\n-# Adapter `{live.release.adapter_sha256}`{_on_ledger(live.release)}"
    parts = [head]
    if history:
        lines = [_line(facts) for facts in history[:MOST_SHOWN]]
        parts.append("\n".join(["**Releases**", *lines]))
    if is_paused:
        parts.append("⏸️ A moderator has paused training and battles.")
    parts.append("-# Your votes train candidates. A candidate becomes a release only by winning a blind battle.")
    items: list[limits.Item] = [*map(text_item, parts)]
    if filmstrip is not None:
        items.insert(1, _filmstrip(filmstrip))
    return view_of(*items)


def release_post(facts: ReleaseFacts, *, before: Release | None, filmstrip: str | None, prompt: str) -> ui.LayoutView:
    """Return the post of a release, "your votes moved this": what shaped it, what changes, and the way back.

    `before` is the release that it replaces, None for the base model; `filmstrip` the name of the attached picture.
    """
    release = facts.release
    parts = [f"### 🧬 Your votes moved this: release {release.number} is live", "\n".join(_lines_of_post(facts))]
    old = "the base model" if before is None else f"release {before.number}"
    change = f"From now on new videos are made with release {release.number}; until now {old} made them."
    parts.append(f"{change} A video's /provenance names its release.")
    parts.append(f"-# Moderators take it back by `/admin model rollback release:{release.number}`.")
    parts.append(release_mark(release))
    items: list[limits.Item] = [*map(text_item, parts)]
    if filmstrip is not None:
        items.insert(2, _filmstrip(filmstrip))
        items.insert(3, text_item(f"-# One prompt and seed through all releases: “{prompt}”"))
    return view_of(*items)


def release_mark(release: Release) -> str:
    """Return the text by which the post of a release is found again."""
    return f"-# {release.model_id}, release {release.number} · adapter `{release.adapter_sha256}`"


def filmstrip_name(release: Release) -> str:
    """Return the name of the attached filmstrip."""
    return f"flock-filmstrip-{release.number}.png"


def _filmstrip(name: str) -> limits.Item:
    description = "Frames of one prompt and seed, a row for each release"
    gallery: limits.Item = ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{name}", description=description))
    return gallery


def _lines_of_post(facts: ReleaseFacts) -> list[str]:
    """Return what shaped a release, a line each: votes and rounds, the battle's margin, and the evidence."""
    lines = []
    if facts.data_votes is not None:
        rounds = "" if facts.data_rounds is None else f" from {amount(facts.data_rounds, 'round')}"
        lines.append(f"**Learned from** {amount(facts.data_votes, 'vote')}{rounds}")
    if facts.margin is not None:
        number = "" if facts.battle_round is None else f" in round {facts.battle_round}"
        lines.append(f"**Won**{number} {_margin(facts.margin)}")
    if facts.evidence is not None:
        lines.append(
            f"**Evidence** {_milli(facts.evidence.milli)} of {facts.evidence.needed:,} needed, in "
            f"{amount(facts.evidence.votes, 'vote')}, without the {facts.evidence.removed} voters who helped most"
        )
    return lines or ["It won its battle."]


def _milli(milli: int) -> str:
    return f"{milli / 1000:.1f}" if milli < 10_000 else f"{milli // 1000:,}"


def released(release: Release, obstacle: str | None = None) -> ui.LayoutView:
    """Return the answer to a moderator who released a candidate; `obstacle` is why the ledger will not have it."""
    ledger = (
        "Its manifest is on its way to the ledger."
        if obstacle is None
        else f"⚠️ It is not on the ledger. {sentence(obstacle)}"
    )
    return note(
        f"🧬 Release {release.number} is live: the next videos are made with it. {_undo(release)}\n-# "
        f"{shorten(ledger, MOST_REASON)}"
    )


def rolled_back(release: Release, before: Release | None) -> ui.LayoutView:
    """Return the answer to a moderator who took a release back."""
    now = "the base model" if before is None else f"release {before.number}"
    return note(
        f"↩️ Release {release.number} is taken back. The next videos are made by {now}; those that a worker has begun "
        "keep the release that they were begun with."
    )


def paused(*, changed: bool) -> ui.LayoutView:
    """Return the answer to a moderator who paused the learning loop."""
    what = "is paused" if changed else "was paused already"
    return note(
        f"⏸️ Learning {what}: nothing is trained, battled or released by itself. `/admin model resume` ends that."
    )


def resumed(*, changed: bool) -> ui.LayoutView:
    """Return the answer to a moderator who ended the pause of the learning loop."""
    return note("▶️ Learning goes on." if changed else "▶️ Learning was not paused.")


def _undo(release: Release) -> str:
    return f"`/admin model rollback release:{release.number}` takes it back."


def _line(facts: ReleaseFacts) -> str:
    release = facts.release
    return f"**{release.number}** · <t:{release.made_at_ms // 1000}:d> · {_STATES[release.state]} · {_shaped_by(facts)}"


def _shaped_by(facts: ReleaseFacts) -> str:
    """Return what shaped a release: the votes that trained it, and the battle that it won."""
    words = []
    if facts.data_votes is not None:
        rounds = "" if facts.data_rounds is None else f" of {amount(facts.data_rounds, 'round')}"
        words.append(f"trained by {amount(facts.data_votes, 'vote')}{rounds}")
    if facts.margin is not None:
        words.append(f"won {_margin(facts.margin)}")
    return ", ".join(words) or "won its battle"


def _margin(margin: Margin) -> str:
    between = ""
    if margin.low is not None and margin.high is not None:
        between = f" ({margin.low:.0%} to {margin.high:.0%})"
    return f"{margin.win_rate:.0%}{between} of its battles before {amount(margin.voters, 'voter')}"


def _on_ledger(release: Release) -> str:
    if release.manifest_sha256 is None:
        return ""
    return f" · manifest `{release.manifest_sha256}` for the ledger"
