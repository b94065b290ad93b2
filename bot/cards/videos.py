"""What members see: Components V2 layouts, built by pure functions from domain objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import discord
from discord import ui

from bot.cards import limits as card_limits
from bot.domain.ledger_links import PublicLedger
from bot.domain.rounds import Round
from bot.domain.standings import Entry
from bot.domain.videos import QueuePlace, Video
from bot.domain.votes import Choice, Standing
from contracts.outbox.progress import VoteReceipt
from generation.jobs import Progress

ACCENT = discord.Colour(0x5865F2)
AI_LABEL = "✨ AI-generated"

BUTTON_ID = r"v1:(?P<action>up|down|feedback|report|withdraw|cancel):(?P<video>[0-9]{1,20})"

_MARKDOWN = re.compile(r"([\\`*_~|<>\[\]()]|^[#\-+])")
_PHASES = {"loading": "Loading the model", "denoising": "Rendering", "encoding": "Encoding", "uploading": "Uploading"}
_BAR = 16
MOST_RANKED = 10  # videos in the standings
_WORDS = {Choice.UP: "up", Choice.DOWN: "down", Choice.WITHDRAWN: "withdrawn"}
MOST_RECEIPTS = 12
REASON = 300  # units of a reason, or of what a chain's address makes of a command
MOST_LINK = 2000  # units of an address; a longer one is left out
_MORE = 60  # for the line that says that there are more


def quote(text: str, most: int = 500) -> str:
    """A member's words, harmless: no markdown, mention, link or command; their direction ends where they end.

    At most `most` characters of them, cut between two that readers see; each may take two units of a message's room.
    """
    if len(text) <= most:
        return _harmless(text)
    pieces = list(card_limits.clusters(text[:most]))
    while pieces and sum(map(len, pieces)) >= most:
        pieces.pop()
    return _harmless("".join(pieces) + "…")


def _harmless(text: str) -> str:
    escaped = _MARKDOWN.sub(r"\\\1", text).replace("@", "@\u200b").replace("://", ":\u200b//")
    return f"\u2068{escaped}\u2069"  # isolated: a right-to-left prompt cannot turn our own words around


def custom_id(action: str, video_id: str) -> str:
    """The state of a button lies in its id, so that it answers after any restart, also on old cards."""
    return f"v1:{action}:{video_id}"


def _button(action: str, video_id: str, label: str | None, emoji: str | None, **more: Any) -> ui.Button[Any]:
    return ui.Button(label=label, emoji=emoji, custom_id=custom_id(action, video_id), **more)


def view_of(*items: ui.Item[Any]) -> ui.LayoutView:
    """A message of these parts, as far as a message holds them."""
    view = ui.LayoutView(timeout=None)
    container: ui.Container[ui.LayoutView] = ui.Container(accent_colour=ACCENT)
    for item in card_limits.fitted(items):
        container.add_item(item)
    view.add_item(container)
    view.stop()  # a picture only: presses are answered by VideoButton, wherever and whenever the card was made
    return view


def note(text: str, *buttons: ui.Button[Any]) -> ui.LayoutView:
    """A short answer, with buttons if there is something to do."""
    if not buttons:
        return view_of(ui.TextDisplay(text))
    row: ui.ActionRow[ui.LayoutView] = ui.ActionRow(*buttons)
    return view_of(ui.TextDisplay(text), row)


def video_card(video: Video, media_url: str, host_name: str | None = "Livepeer") -> ui.LayoutView:
    """A video in its voting thread: playable inline, with what it shows, who asked, and how to vote."""
    gallery: ui.MediaGallery[ui.LayoutView] = ui.MediaGallery(
        discord.MediaGalleryItem(media_url, description=card_limits.plain(f"AI-generated video: {video.prompt}", 256))
    )
    facts = [f"Asked for by <@{video.member_id}>"]
    if video.link and card_limits.length(video.link) <= MOST_LINK:
        label = "Open the video" if video.page_url is None else f"Watch on {host_name}" if host_name else "Watch"
        facts.append(f"[{label}]({video.link})")
    facts.append(AI_LABEL)
    buttons: ui.ActionRow[ui.LayoutView] = ui.ActionRow(
        _button("up", video.id, "Up", "👍", style=discord.ButtonStyle.success),
        _button("down", video.id, "Down", "👎", style=discord.ButtonStyle.danger),
        _button("feedback", video.id, "Feedback", "💬"),
        _button("report", video.id, "Report", "🚩"),
    )
    return view_of(
        gallery,
        ui.TextDisplay(f"### {quote(video.prompt)}"),
        ui.TextDisplay(f"-# {' · '.join(facts)}"),
        buttons,
    )


def removed_card(video: Video) -> ui.LayoutView:
    """What stands in place of a video that a moderator took away: neither picture nor prompt, and nothing to press."""
    return note(f"🗑️ A moderator removed this video of <@{video.member_id}>: {quote(video.reason or '', 200)}")


def title(video: Video, most: int = 80) -> str:
    """The prompt; of a removed video that too is gone."""
    return "a video that a moderator removed" if video.status == "removed" else quote(video.prompt, most)


def bar(step: int, steps: int) -> str:
    """A bar of fixed width."""
    full = 0 if steps <= 0 else min(_BAR, step * _BAR // steps)
    return "▰" * full + "▱" * (_BAR - full)


def seconds(value: float) -> str:
    """A rough duration in words."""
    if value < 90:
        return f"about {max(1, round(value))} s"
    return f"about {round(value / 60)} min" if value < 5400 else f"about {round(value / 3600)} h"


def minutes(value: float) -> str:
    """A rougher one."""
    whole = max(1, round(value / 60))
    return "about a minute" if whole == 1 else f"about {whole} minutes"


def progress_text(video: Video, round_: Round, place: QueuePlace | None, progress: Progress | None) -> str:
    """What the progress message of a video says."""
    head = f"**{quote(video.prompt, 200)}**\n"
    where = f"Round {round_.number}"
    if video.status == "queued" and place is not None:
        ahead = "next in the queue" if place.ahead == 0 else f"number {place.ahead + 1} in the queue"
        if not place.served:
            nobody = f"No worker that renders with {video.model_id} is running at the moment"
            return f"{head}⏳ {where}: {ahead}. {nobody}; your prompt waits for one."
        return f"{head}⏳ {where}: {ahead}, done in {seconds(place.estimate_s)}."
    if video.status == "published":
        link = f"https://discord.com/channels/{video.guild_id}/{video.thread_id}/{video.message_id}"
        return f"{head}✅ {where}: your video is up for votes: {link}"
    if video.status == "removed":
        return f"🗑️ {where}: a moderator removed your video: {quote(video.reason or '', 200)}"
    if video.status == "cancelled":
        return f"{head}🚫 {video.reason or 'Cancelled.'}"
    if video.status == "failed":
        return f"{head}⚠️ {video.reason or 'This video could not be made.'} Your prompt does not count; ask again."
    if video.reason:
        return f"{head}⏸️ {video.reason}"
    if video.status in {"queued", "rendering"} and progress is not None:
        eta = f" · {seconds(progress.eta_s)} left" if progress.eta_s else ""
        return f"{head}🎬 {_PHASES[progress.phase]} {bar(progress.step, progress.steps)}{eta}"
    words = {
        "rendering": "🎬 A worker has begun.",
        "uploading": "📤 The video is being uploaded.",
        "hosting": "📼 The host is preparing the video.",
        "posting": "📨 The video is being posted.",
    }
    return f"{head}{words.get(video.status, '⏳ Waiting.')}"


def progress_card(text: str, video: Video) -> ui.LayoutView:
    """The one message that shows how a video comes along."""
    if video.cancellable:
        return note(text, _button("cancel", video.id, "Cancel", "✖️"))
    return note(text)


def vote_answer(standing: Standing, video_id: str, on_chain_s: float) -> ui.LayoutView:
    """The acknowledgement of a vote, after its commit; it is on the chain after about so many seconds."""
    closes = f"<t:{standing.closes_at_ms // 1000}:R>"
    if standing.choice is Choice.WITHDRAWN:
        prompt = quote(standing.prompt, 80)
        return note(f"{Choice.WITHDRAWN.emoji} You have no vote on **{prompt}**. You can vote until {closes}.")
    word = "up" if standing.choice is Choice.UP else "down"
    return note(
        f"{standing.choice.emoji} Recorded: your vote on **{quote(standing.prompt, 80)}** is **{word}**. "
        f"You can change it until round {standing.round_number} closes {closes}. "
        f"It is on the chain in {minutes(on_chain_s)}; `/receipt` shows where.",
        _button("withdraw", video_id, "Withdraw my vote", "↩️"),
    )


def announcement(round_: Round) -> ui.LayoutView:
    """The opening of a round, in the rounds channel; its thread hangs on this message."""
    return view_of(
        ui.TextDisplay(f"## Round {round_.number}: {quote(round_.task, 200)}"),
        ui.TextDisplay(
            f"Use `/prompt` to have a video made, and vote in the thread below with the buttons or with 👍 and 👎.\n"
            f"It closes <t:{round_.closes_at_ms // 1000}:R>, <t:{round_.closes_at_ms // 1000}:f>."
        ),
    )


def thread_name(round_: Round) -> str:
    """The name of a round's voting thread."""
    return card_limits.plain(f"Round {round_.number}: {round_.task}", card_limits.MOST_NAME)


def not_opened(round_: Round) -> ui.LayoutView:
    """What stands in place of the announcement of a round that did not come about."""
    return view_of(
        ui.TextDisplay(f"## Round {round_.number}: {quote(round_.task, 200)}"),
        ui.TextDisplay("🚫 This round could not be opened, and takes no prompts."),
    )


def standings_text(
    round_: Round,
    ranked: Sequence[Entry],
    views: Mapping[str, int] | None = None,
    most: int = MOST_RANKED,
    room: int = card_limits.MOST_TEXT,
) -> str:
    """The standings of a round, best first, as many as fit in `room` units.

    `views` by the videos' ids, where they are known.
    """
    if not ranked:
        return "No video has been posted in this round yet."
    watched = "\n-# ▶ is how often a video was watched at its host. It has no weight here." if views else ""
    room -= _MORE + card_limits.length(watched)
    lines: list[str] = []
    for number, entry in enumerate(ranked[:most], 1):
        link = f"https://discord.com/channels/{entry.video.guild_id}/{entry.video.thread_id}/{entry.video.message_id}"
        line = (
            f"{number}. [{quote(entry.video.prompt, 60)}]({link}) by <@{entry.video.member_id}> · "
            f"👍 {entry.tally.up} · 👎 {entry.tally.down}"
            + (f" · ▶ {views[entry.video.id]}" if views and entry.video.id in views else "")
        )
        room -= card_limits.length(line) + 1
        if room < 0:
            break
        lines.append(line)
    more = f"\n… and {len(ranked) - len(lines)} more." if len(ranked) > len(lines) else ""
    return "\n".join(lines) + watched + more


def receipt_card(
    round_: Round, lines: Sequence[tuple[Video, VoteReceipt]], voter_id: str, ledger: PublicLedger, check: str
) -> ui.LayoutView:
    """`/receipt`: a member's votes of a round, where each stands, and how to check that without us."""
    head: ui.TextDisplay[Any] = ui.TextDisplay(f"### Your votes in round {round_.number}")
    foot: ui.TextDisplay[Any] = ui.TextDisplay(
        f"Your voter id here is `{voter_id}`. It says nothing of who you are to anybody but us.\n"
        f"Check it without us, from the chain alone: `{check}`"
    )
    more = "… and {} more: the audit below shows all."
    budget = card_limits.Budget(head, foot, ui.Separator(), ui.TextDisplay(more.format(1_000_000)))
    shown: list[ui.Item[Any]] = []
    for video, receipt in lines[:MOST_RECEIPTS]:
        item: ui.TextDisplay[Any] = ui.TextDisplay(_receipt_line(video, receipt, ledger))
        if not budget.take(item):
            break
        shown.append(item)
    rest: list[ui.Item[Any]] = [ui.TextDisplay(more.format(len(lines) - len(shown)))] if len(lines) > len(shown) else []
    return view_of(head, *shown, *rest, ui.Separator(), foot)


def _receipt_line(video: Video, receipt: VoteReceipt, ledger: PublicLedger) -> str:
    choice = Choice(receipt.choice)
    if receipt.state == "final" and receipt.tx is not None:
        tx = ledger.transaction(receipt.tx)
        how = "your wallet signed it" if receipt.signed else f"batch {receipt.seq}"
        seat = "" if receipt.seat is None else f" · seat {receipt.seat}"
        where = f"the ledger's video {receipt.video_number}{seat} · {how} · transaction {tx}"
    elif receipt.state == "rejected":
        where = f"⚠️ not on the chain: {card_limits.shorten(receipt.reason or 'the ledger refused it.', REASON)}"
        if receipt.standing:
            where += f" Before it you chose **{_WORDS[Choice(receipt.standing)]}**, and that counts."
    else:
        where = "signed, and on its way to the chain" if receipt.signed else "on its way to the chain"
    return f"{choice.emoji} **{title(video)}**: {_WORDS[choice]}\n-# {where}"


def provenance_card(video: Video, file_url: str) -> ui.LayoutView:
    """`/provenance`: how a video was made, with its card as a file. What it says came from a worker: all is quoted."""
    card = video.provenance or {}
    model, settings, signer = (_part(card, name) for name in ("model", "settings", "signed_by"))
    adapters = model.get("adapters")
    lines = [
        f"Model **{quote(str(model.get('id')), 80)}** at `{_plain(model.get('revision'), 40)}`, "
        f"seed `{_plain(card.get('seed'), 20)}`",
        f"{_plain(settings.get('frames'), 10)} frames of {_plain(settings.get('width'), 10)} × "
        f"{_plain(settings.get('height'), 10)}, {_plain(settings.get('steps'), 10)} steps",
    ]
    lines += [
        f"Adapter {quote(str(adapter.get('source')), 80)} at `{_plain(adapter.get('revision'), 40)}`"
        for adapter in (adapters if isinstance(adapters, list) else [])[:5]
        if isinstance(adapter, dict)
    ]
    if signer.get("kind") == "operator":
        lines.append(f"Signed (C2PA) by {quote(str(signer.get('name')), 80)}")
    elif signer:
        lines.append("Signed (C2PA) with a self-made certificate: it shows changes, but nobody vouches for the signer")
    else:
        lines.append("Not signed")
    lines.append(f"File: SHA-256 `{_plain(video.sha256, 64)}`")
    return view_of(
        ui.TextDisplay(f"### {AI_LABEL}: {quote(video.prompt, 200)}"),
        ui.TextDisplay("\n".join(lines)),
        ui.File(file_url),
        ui.TextDisplay("-# Whoever has the model renders it again with `flock rerender` and this card."),
    )


def _part(card: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = card.get(name)
    return part if isinstance(part, dict) else {}


def _plain(value: object, most: int) -> str:
    """A value for code marks: letters, digits and what stands between them."""
    return re.sub(r"[^\w.:@/+-]", "", str(value))[:most]


def my_videos(videos: Sequence[Video], held: Sequence[str] = ()) -> ui.LayoutView:
    """`/videos`: a member's videos, with a way to cancel those on their way; and prompts that were held."""
    if not videos and not held:
        return note("You have not asked for a video yet. Try `/prompt` while a round is open.")
    head: ui.TextDisplay[Any] = ui.TextDisplay("### Your videos")
    rest: ui.TextDisplay[Any] = ui.TextDisplay("-# Older ones do not fit in here.")
    budget = card_limits.Budget(head, rest)
    entries: dict[int, ui.Item[Any]] = {}
    for number, line in enumerate(held):
        item: ui.Item[Any] = ui.TextDisplay(line)
        if budget.take(item):
            entries[number] = item
    # Those that can be cancelled come first into the message, wherever they stand in it.
    for number, video in sorted(enumerate(videos, len(held)), key=lambda one: not one[1].cancellable):
        item = _mine(video)
        if budget.take(item):
            entries[number] = item
    shown = [entries[number] for number in sorted(entries)]
    return view_of(head, *shown, *([rest] if len(shown) < len(videos) + len(held) else []))


def _mine(video: Video) -> ui.Item[Any]:
    icons = {"published": "✅", "failed": "⚠️", "cancelled": "🚫", "removed": "🗑️"}
    text = f"{icons.get(video.status, '⏳')} **{quote(video.prompt, 80)}**\n-# {_state(video)}"
    if video.cancellable:
        return ui.Section(text, accessory=_button("cancel", video.id, "Cancel", None))
    return ui.TextDisplay(text)


def _state(video: Video) -> str:
    if video.status == "published":
        return f"https://discord.com/channels/{video.guild_id}/{video.thread_id}/{video.message_id}"
    if video.status in {"failed", "cancelled"}:
        return card_limits.shorten(video.reason or video.status, REASON)
    if video.status == "removed":
        return f"removed by a moderator: {quote(video.reason or '', 200)}"
    return "is being cancelled" if video.cancel_requested else video.status


def status_text(round_: Round, published: int, under_way: int, feedback: int, reports: int, chain: str) -> str:
    """`/round status`, for moderators."""
    thread = f"<#{round_.thread_id}>" if round_.thread_id else "(being opened)"
    if round_.status == "closed" and not round_.opened:
        thread = "could not be opened"
    trouble = f"⚠️ {round_.trouble}\n" if round_.trouble else ""
    return (
        f"### Round {round_.number}: {quote(round_.task, 200)}\n"
        f"{thread} · {round_.status} · closes <t:{round_.closes_at_ms // 1000}:R>\n{trouble}"
        f"{published} videos posted, {under_way} on their way · {feedback} pieces of feedback · {reports} reports\n"
        f"-# {chain}"
    )
