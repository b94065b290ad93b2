"""The messages about a video: its card, its progress, the answer to a vote, its provenance, a member's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import discord
from discord import ui

from bot.cards import limits
from bot.cards.layout import code, link, minutes, note, quote, row, seconds, sentence, view_of
from bot.cards.limits import Button, Item, text_item
from bot.cards.prompt_words import words_line
from bot.cards.rounds import result_link
from bot.domain.amounts import amount
from bot.domain.rounds import Round
from bot.domain.videos import QueuePlace, Video
from bot.domain.votes import CardVotes, Choice, Standing
from generation.jobs import Progress
from migrations.states.community import RoundStatus, VideoStatus

AI_LABEL = "✨ AI-generated"
REMOVED = "a video that a moderator removed"
BUTTON_ID = r"v1:(?P<action>up|down|feedback|report|withdraw|cancel):(?P<video>[0-9]{1,20})"
CHOICE_WORDS = {Choice.UP: "up", Choice.DOWN: "down", Choice.WITHDRAWN: "withdrawn"}
MOST_LINK = 2000  # units of an address; a longer address is left out
MOST_ADAPTERS = 5  # that a provenance card names

_PHASES = {"loading": "Loading the model", "denoising": "Rendering", "encoding": "Encoding", "uploading": "Uploading"}
_BAR = 16  # characters
_WAITING = {
    VideoStatus.RENDERING: "🎬 A worker has started on your video.",
    VideoStatus.UPLOADING: "📤 The video is being uploaded.",
    VideoStatus.HOSTING: "📼 The host is preparing the video.",
    VideoStatus.POSTING: "📨 The video is being posted.",
}
_ICONS = {
    VideoStatus.PUBLISHED: "✅",
    VideoStatus.FAILED: "⚠️",
    VideoStatus.CANCELLED: "🚫",
    VideoStatus.REMOVED: "🗑️",
}


def custom_id(action: str, video_id: str) -> str:
    """Return the id of a button. It holds the button's state, so that old cards answer after any restart."""
    return f"v1:{action}:{video_id}"


def _button(
    action: str,
    video_id: str,
    label: str | None,
    emoji: str | None,
    style: discord.ButtonStyle = discord.ButtonStyle.secondary,
) -> Button:
    return ui.Button(label=label, emoji=emoji, custom_id=custom_id(action, video_id), style=style)


def message_link(video: Video) -> str:
    """Return the link to a video's card on Discord."""
    return f"https://discord.com/channels/{video.guild_id}/{video.thread_id}/{video.message_id}"


def votes_line(votes: CardVotes) -> str:
    """Return the line of a card that says how many have voted, and how much of that is on the ledger."""
    if not votes.number:
        return "No votes yet" if votes.hidden else "No votes"
    line = f"**{amount(votes.number, 'vote')}**"
    if not votes.hidden:
        line = f"👍 **{votes.tally.up:,}** · 👎 **{votes.tally.down:,}**"
    if votes.all_on_ledger:
        return f"{line} · ✓ on the ledger"
    return f"{line} · {votes.on_ledger:,} on the ledger" if votes.on_ledger else line


def video_card(
    video: Video,
    media_url: str,
    host_name: str | None = "Livepeer",
    *,
    votes: CardVotes | None = None,
    closed: Round | None = None,
) -> ui.LayoutView:
    """Return a video's card for the voting thread: playable inline, with its prompt, its votes and the buttons.

    `closed` is the video's round once that is closed: the card then takes no votes.
    """
    gallery: Item = ui.MediaGallery(
        discord.MediaGalleryItem(media_url, description=limits.plain(f"AI-generated video: {video.prompt}", 256))
    )
    facts = [f"Requested by <@{video.member_id}>"]
    if video.link and limits.length(video.link) <= MOST_LINK:
        label = "Open the video" if video.page_url is None else f"Watch on {host_name}" if host_name else "Watch"
        facts.append(link(label, video.link))
    facts.append(AI_LABEL)
    if video.release is not None:
        facts.append(f"🧬 Release {video.release}")
    return view_of(
        gallery,
        text_item(f"### {quote(video.prompt)}"),
        text_item(f"-# {' · '.join(facts)}"),
        text_item(votes_line(votes or CardVotes())),
        *_closed_line(closed),
        row(*_card_buttons(video.id, closed)),
    )


def _closed_line(closed: Round | None) -> list[Item]:
    """Return the line that says that a card takes no more votes; none while its round is open."""
    if closed is None:
        return []
    link = result_link(closed)
    return [text_item(f"-# 🏁 Round {closed.number} is closed{f' · [See the result]({link})' if link else ''}")]


def _card_buttons(video_id: str, closed: Round | None) -> list[Button]:
    """Return the buttons of a card: those for votes only while its round is open."""
    words = [_button("feedback", video_id, "Feedback", "💬"), _button("report", video_id, "Report", "🚩")]
    if closed is not None:
        return words
    return [
        _button("up", video_id, "Up", "👍", discord.ButtonStyle.success),
        _button("down", video_id, "Down", "👎", discord.ButtonStyle.danger),
        *words,
    ]


def removed_card(video: Video) -> ui.LayoutView:
    """Return what replaces a video that a moderator removed: no picture, no prompt, no buttons."""
    return note(f"🗑️ A moderator removed this video by <@{video.member_id}>: {quote(video.reason or '', 200)}")


def title(video: Video, most: int = 80) -> str:
    """Return the prompt of a video; the prompt of a removed video is not shown."""
    return REMOVED if video.status == VideoStatus.REMOVED else quote(video.prompt, most)


def plain_title(video: Video) -> str:
    """Return the same for a place without markup, whole."""
    return REMOVED if video.status == VideoStatus.REMOVED else video.prompt


def bar(step: int, steps: int) -> str:
    """Return a progress bar of fixed width."""
    full = 0 if steps <= 0 else min(_BAR, step * _BAR // steps)
    return "▰" * full + "▱" * (_BAR - full)


def progress_text(video: Video, round_: Round, place: QueuePlace | None, progress: Progress | None) -> str:
    """Return the text of a video's progress message."""
    head = f"**{quote(video.prompt, 200)}**\n{words_line(video.prompt, progress)}"
    prefix = f"Round {round_.number}"
    if video.status == VideoStatus.QUEUED and place is not None:
        ahead = "next in the queue" if place.ahead == 0 else f"number {place.ahead + 1:,} in the queue"
        if not place.served:
            model = quote(video.model_id, 80)
            waits = (
                f"No GPU worker for **{model}** is online. Your prompt stays in the queue and starts as soon as one is."
            )
            return f"{head}⏳ {prefix}: {ahead}. {waits}"
        if place.estimate_s is None:
            return f"{head}⏳ {prefix}: {ahead}. How long it takes is known after this model's first video."
        return f"{head}⏳ {prefix}: {ahead}, rendered in {seconds(place.estimate_s)}."
    if video.status == VideoStatus.PUBLISHED and round_.status == RoundStatus.CLOSED:
        return f"{head}🏁 {prefix} is closed. Your video took part: {message_link(video)}"
    if video.status == VideoStatus.PUBLISHED:
        return f"{head}✅ {prefix}: your video is up for votes: {message_link(video)}"
    if video.status == VideoStatus.REMOVED:
        return f"🗑️ {prefix}: a moderator removed your video: {quote(video.reason or '', 200)}"
    if video.status == VideoStatus.CANCELLED:
        return f"{head}🚫 {sentence(video.reason or 'Cancelled.')}"
    if video.status == VideoStatus.FAILED:
        reason = sentence(video.reason or "This video could not be made.")
        return f"{head}⚠️ {reason} It doesn't count towards your limit. Try again with `/prompt`."
    if video.reason:
        return f"{head}⏸️ {sentence(video.reason)}"
    if video.status in {VideoStatus.QUEUED, VideoStatus.RENDERING} and progress is not None:
        eta = f" · {seconds(progress.eta_s)} left" if progress.eta_s else ""
        return f"{head}🎬 {_PHASES[progress.phase]} {bar(progress.step, progress.steps)}{eta}"
    return f"{head}{_WAITING.get(video.status, '⏳ Waiting.')}"


def progress_card(text: str, video: Video) -> ui.LayoutView:
    """Return the one message that shows the progress of a video."""
    if video.cancellable:
        return note(text, _button("cancel", video.id, "Cancel", "✖️"))
    return note(text)


def vote_answer(standing: Standing, video_id: str, on_ledger_s: float) -> ui.LayoutView:
    """Return the answer to a vote, after its commit; the vote reaches the ledger after about `on_ledger_s` seconds."""
    closes = f"<t:{standing.closes_at_ms // 1000}:R>"
    prompt = f"**{quote(standing.prompt, 80)}**"
    if standing.choice is Choice.WITHDRAWN:
        state = f"Your vote on {prompt} is withdrawn." if standing.changed else f"You have no vote on {prompt}."
        return note(f"{Choice.WITHDRAWN.emoji} {state} Voting closes {closes}.")
    return note(
        f"{standing.choice.emoji} Recorded: your vote on {prompt} is **{CHOICE_WORDS[standing.choice]}**. "
        f"You can change it until round {standing.round_number} closes {closes}. "
        f"It will be on the ledger in {minutes(on_ledger_s)}; `/receipt` shows where.",
        _button("withdraw", video_id, "Withdraw my vote", "↩️"),
    )


def provenance_card(video: Video, file_url: str, progress: Progress | None = None) -> ui.LayoutView:
    """Return the answer to `/provenance`: how a video was made, with its provenance card as a file.

    The contents of that card came from a worker, which is not trusted: all of them are quoted.
    """
    card = video.provenance or {}
    model, settings, signer = (_part(card, name) for name in ("model", "settings", "signed_by"))
    adapters = model.get("adapters")
    lines = [
        f"Model **{quote(str(model.get('id')), 80)}** at `{code(model.get('revision'), 40)}`, "
        f"seed `{code(card.get('seed'), 20)}`",
        f"{code(settings.get('frames'), 10)} frames of {code(settings.get('width'), 10)} × "
        f"{code(settings.get('height'), 10)}, {code(settings.get('steps'), 10)} steps",
    ]
    lines += [
        f"Adapter {quote(str(adapter.get('source')), 80)} at `{code(adapter.get('revision'), 40)}`"
        for adapter in (adapters if isinstance(adapters, list) else [])[:MOST_ADAPTERS]
        if isinstance(adapter, dict)
    ]
    choice = _part(card, "best_of")
    if choice:
        lines.append(f"Kept of {code(choice.get('count'), 10)} videos, which the community's taste chose from")
    if video.release is not None:
        lines.append(f"Release {video.release}: adapter `{code(video.adapter_sha256, 64)}`")
    if signer.get("kind") == "operator":
        lines.append(f"Signed (C2PA) by {quote(str(signer.get('name')), 80)}")
    elif signer:
        lines.append("Signed (C2PA) with a self-made certificate: it shows tampering, but doesn't prove who signed")
    else:
        lines.append("Not signed")
    lines.append(f"File: SHA-256 `{code(video.sha256, 64)}`")
    return view_of(
        text_item(f"### {AI_LABEL}: {quote(video.prompt, 200)}"),
        text_item(words_line(video.prompt, progress) + "\n".join(lines)),
        ui.File(file_url),
        text_item("-# Anyone who has the model can render it again with `flock rerender` and this card."),
    )


def _part(card: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = card.get(name)
    return part if isinstance(part, dict) else {}


def my_videos(videos: Sequence[Video], held_lines: Sequence[str] = ()) -> ui.LayoutView:
    """Return the answer to `/videos`: a member's videos, with a way to cancel those in progress, and held prompts."""
    if not videos and not held_lines:
        return note("You haven't asked for a video yet. Try `/prompt` while a round is open.")
    head, rest = text_item("### Your videos"), text_item("-# Older videos don't fit here.")
    budget = limits.Budget(head, rest)
    entries: dict[int, Item] = {}
    for number, line in enumerate(held_lines):
        item: Item = text_item(line)
        if budget.take(item):
            entries[number] = item
    # Videos that can be cancelled get room in the message first, wherever they stand in it.
    for number, video in sorted(enumerate(videos, len(held_lines)), key=lambda numbered: not numbered[1].cancellable):
        item = _list_item(video)
        if budget.take(item):
            entries[number] = item
    items = [entries[number] for number in sorted(entries)]
    return view_of(head, *items, *([rest] if len(items) < len(videos) + len(held_lines) else []))


def _list_item(video: Video) -> Item:
    text = f"{_ICONS.get(video.status, '⏳')} **{quote(video.prompt, 80)}**\n-# {_state(video)}"
    if video.cancellable:
        return ui.Section(text, accessory=_button("cancel", video.id, "Cancel", None))
    return text_item(text)


def _state(video: Video) -> str:
    if video.status == VideoStatus.PUBLISHED:
        return message_link(video)
    if video.status in {VideoStatus.FAILED, VideoStatus.CANCELLED}:
        return sentence(video.reason or video.status)
    if video.status == VideoStatus.REMOVED:
        return f"removed by a moderator: {quote(video.reason or '', 200)}"
    return "being cancelled" if video.cancel_requested else video.status
