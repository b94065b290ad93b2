"""The result of a round and its standings, with a sentence for each difference from the preliminary tally."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import discord
from discord import ui

from bot.cards import limits
from bot.cards.layout import link, note, quote, row, sentence, view_of
from bot.cards.limits import Item, text_item
from bot.cards.videos import AI_LABEL, MOST_LINK, message_link, title
from bot.domain.rounds import Round
from bot.domain.standings import Entry, Outcome, rank, unvoted, winner
from bot.domain.videos import Video
from migrations.states.community import RoundStatus, VideoStatus

MOST_RANKED = 10  # videos in the standings
MOST_WAITING = 3  # videos without a vote that are named below them
MOST_LEDGER = 1500  # units of the sentences about the ledger
_MORE = 60  # units for the line that says how many more there are
_ELSEWHERE = "-# It rejected votes in other rounds too; `/receipt` with a round's number shows which."

HEADINGS = {
    "here": "Preliminary tally",
    "ledger": "**Final tally** on the ledger",
    "record": "**Final tally** from our record of the ledger, which can't be read right now",
}


def result_card(round_: Round, outcome: Outcome, ledger: str, media_url: str | None = None) -> ui.LayoutView:
    """Return the result of a round, with the winner's video at `media_url`, if it can be shown.

    `ledger` says in plain words how far the round is on the ledger; a button leads to the details.
    """
    entries = ranked(outcome)
    if outcome.best is not None and outcome.best.video.status == VideoStatus.REMOVED:
        ledger += (
            " The winner on the ledger is a video that a moderator removed; nothing can be removed from the ledger."
            if outcome.final
            else " By these votes, the winner is a video that a moderator removed."
        )
    best = shown_winner(outcome)
    if best is None:
        head = f"## Round {round_.number} is closed\n{_no_winner(outcome)}"
        shown: list[Item] = []
    else:
        head = (
            f"## Round {round_.number} is decided\n🏆 **{quote(best.video.prompt, 200)}** by "
            f"<@{best.video.member_id}>, with 👍 {best.tally.up} and 👎 {best.tally.down}{_tie(best, entries)}"
        )
        shown = _video_items(best.video, media_url)
    foot = [
        *(f"⚠️ {text}" for text in _explain(round_, outcome)),
        f"-# {limits.shorten(ledger, MOST_LEDGER)}",
        *_to_compare(round_, outcome),
    ]
    room = _room(head, HEADINGS[outcome.source], *(text.content for text in limits.texts(shown)), *foot)
    tally = f"{HEADINGS[outcome.source]}\n{standings_text(round_, entries, room=room)}"
    return view_of(
        text_item(head),
        *shown,
        ui.Separator(),
        *([text_item(tally)] if entries else []),
        *(text_item(text) for text in foot),
        row(ui.Button(label="Details", custom_id=details_id(round_))),
    )


def _to_compare(round_: Round, outcome: Outcome) -> Sequence[str]:
    """Return a line with what an audit shows of a final round: its number there, and the winner's with its file.

    The winner is the ledger's, also where a moderator removed it.
    """
    if not outcome.final or round_.chain_id is None:
        return []
    best = outcome.best
    if best is None or best.video.chain_id is None:
        return [f"-# To compare: round {round_.chain_id}, without a winner"]
    votes = f"👍 {best.tally.up} 👎 {best.tally.down}"
    content = f", content `{best.video.sha256}`" if best.video.sha256 else ""
    return [f"-# To compare: round {round_.chain_id}, winner {best.video.chain_id} with {votes}{content}"]


def shown_winner(outcome: Outcome) -> Entry | None:
    """Return the winner that members see: of what was not removed. None where nobody voted."""
    best = outcome.best
    return winner(ranked(outcome)) if best is not None and best.video.status == VideoStatus.REMOVED else best


def _video_items(video: Video, media_url: str | None) -> list[Item]:
    """Return the winner's video with its links; where it cannot be shown, a sentence with the links alone."""
    links = [f"[its card]({message_link(video)})"]
    if video.link and limits.length(video.link) <= MOST_LINK:
        links.append(link("the video's page", video.link))
    if media_url is None:
        return [text_item(f"-# {AI_LABEL} · The video can't be played here. See {' or '.join(links)}.")]
    description = limits.plain(f"AI-generated video: {video.prompt}", 256)
    gallery: Item = ui.MediaGallery(discord.MediaGalleryItem(media_url, description=description))
    return [gallery, text_item(f"-# {AI_LABEL} · See {' or '.join(links)}")]


def _tie(best: Entry, entries: Sequence[Entry]) -> str:
    """Return why the winner is ahead of others with the same score; an empty text where there are none."""
    others = [entry for entry in entries if entry != best and entry.tally.score == best.tally.score]
    if not others:
        return ""
    if any(entry.tally == best.tally for entry in others):
        return "\n-# It was a tie: of videos with the same votes, the one posted first wins."
    return "\n-# It was close: of videos with the same score, the one with more 👍 wins."


def details_id(round_: Round) -> str:
    """Return the id of the button for the details of a result."""
    return f"s1:details:{round_.id}"


def details_card(round_: Round, ledger: str) -> ui.LayoutView:
    """Return the answer to the button for details; `ledger` names the transaction and the command for an audit."""
    task = hashlib.sha256(round_.task.encode("utf-8", "surrogatepass")).hexdigest()  # as the ledger has it
    return note(
        f"### Round {round_.number} on the ledger\n{limits.shorten(ledger, MOST_LEDGER)}\n-# Task `{task}`\n"
        f"-# `/receipt round:{round_.number}` shows your own votes."
    )


def _room(*others: str) -> int:
    """Return the units of a message that are left for the standings, beside its other texts."""
    return limits.MOST_TEXT - sum(limits.length(text) + 1 for text in others)


def standings_card(round_: Round, outcome: Outcome, views: Mapping[str, int] | None = None) -> ui.LayoutView:
    """Return the answer to `/standings`."""
    state = f"closes <t:{round_.closes_at_ms // 1000}:R>"
    if round_.status == RoundStatus.CLOSED:
        state = f"closed · {HEADINGS[outcome.source]}"
    head = f"### Round {round_.number}: {quote(round_.task, 200)}\n-# {state}"
    foot = [*_waiting(round_, outcome), *(f"⚠️ {text}" for text in _explain(round_, outcome))]
    return view_of(
        text_item(head),
        text_item(standings_text(round_, ranked(outcome), views, room=_room(head, *foot))),
        *(text_item(text) for text in foot),
    )


def _waiting(round_: Round, outcome: Outcome) -> Sequence[str]:
    """Return a line with the videos of an open round that nobody has voted on yet, if there are any."""
    waiting = unvoted(ranked(outcome)) if round_.status == RoundStatus.OPEN else []
    if not waiting:
        return []
    links = [f"[{quote(entry.video.prompt, 40)}]({message_link(entry.video)})" for entry in waiting[:MOST_WAITING]]
    more = f" and {len(waiting) - len(links):,} more" if len(waiting) > len(links) else ""
    return [f"👀 Nobody has voted on these yet: {' · '.join(links)}{more}"]


def standings_text(
    round_: Round,
    ranked: Sequence[Entry],
    views: Mapping[str, int] | None = None,
    most: int = MOST_RANKED,
    room: int = limits.MOST_TEXT,
) -> str:
    """Return the standings of a round, best first, as many as fit in `room` units.

    `views` are play counts by the videos' ids, where they are known.
    """
    if not ranked:
        return "No video has been posted in this round yet."
    watched = (
        "\n-# ▶ is the number of times a video was watched at its host. Views don't affect the ranking."
        if views
        else ""
    )
    room -= _MORE + limits.length(watched)
    lines: list[str] = []
    for number, entry in enumerate(ranked[:most], 1):
        line = (
            f"{number}. [{quote(entry.video.prompt, 60)}]({message_link(entry.video)}) by <@{entry.video.member_id}> · "
            f"👍 {entry.tally.up} · 👎 {entry.tally.down}"
            + (f" · ▶ {views[entry.video.id]}" if views and entry.video.id in views else "")
        )
        room -= limits.length(line) + 1
        if room < 0:
            break
        lines.append(line)
    more = f"\n… and {len(ranked) - len(lines):,} more." if len(ranked) > len(lines) else ""
    return "\n".join(lines) + watched + more


def rejected_note(rounds: Sequence[tuple[int, int, str]]) -> ui.LayoutView:
    """Return the note that tells a member once what the ledger rejected: round number, number of votes, reason."""
    lines: list[str] = []
    room = _room(_ELSEWHERE)
    for number, count, reason in rounds:
        votes = "one of your votes" if count == 1 else f"{count:,} of your votes"
        line = (
            f"⚠️ The ledger rejected {votes} in round {number}: {sentence(reason)} "
            f"`/receipt round:{number}` shows which."
        )
        room -= limits.length(line) + 1
        if room < 0:
            lines.append(_ELSEWHERE)
            break
        lines.append(line)
    return note("\n".join(lines))


def ranked(outcome: Outcome) -> Sequence[Entry]:
    """Return the videos that members see, best first."""
    return rank(entry for entry in outcome.entries if entry.video.status != VideoStatus.REMOVED)


def _no_winner(outcome: Outcome) -> str:
    if not outcome.entries and not outcome.absent:
        return "No video was posted in this round, so there is no winner."
    if outcome.best is not None:
        return "A moderator removed the winner, and nobody voted for another video."
    if outcome.rejected:
        return "No vote reached the ledger, so there is no winner."
    return "Nobody voted, so there is no winner."


def _explain(round_: Round, outcome: Outcome) -> Sequence[str]:
    """Return the reasons why the final result differs from the preliminary one, as sentences that name no member."""
    if not outcome.final:
        return []
    sentences = []
    if outcome.rejected:
        votes = "One vote was" if outcome.rejected == 1 else f"{outcome.rejected:,} votes were"
        sentences.append(f"{votes} rejected by the ledger; `/receipt round:{round_.number}` shows which of yours.")
    if outcome.absent:
        videos = "One posted video is" if outcome.absent == 1 else f"{outcome.absent:,} posted videos are"
        sentences.append(f"{videos} not on the ledger, and without a rank.")
    if outcome.differs and not sentences:
        sentences.append("The ledger's tally differs from the preliminary tally; the ledger's tally is the result.")
    if outcome.winner_here is not None:
        sentences.append(f"By the preliminary tally, **{title(outcome.winner_here.video)}** had won.")
    return sentences
