"""What members see of a round's result: the post, and the standings, with a sentence for whatever changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from discord import ui

from bot.cards import limits as card_limits
from bot.cards.videos import REASON, note, quote, standings_text, title, view_of
from bot.domain.rounds import Round
from bot.domain.standings import Entry, Outcome, rank, winner

MOST_CHAIN = 1500  # units of what is said of the chain
_ELSEWHERE = "-# It refused votes in other rounds too; `/receipt` with their numbers shows which."

HEADINGS = {
    "here": "As counted here",
    "ledger": "**Final tally**, as the ledger has it",
    "record": "**Final tally**, by our record of the ledger, which cannot be read just now",
}


def result_card(round_: Round, outcome: Outcome, chain: str) -> ui.LayoutView:
    """The result of a round; `chain` says how far it is on the ledger."""
    shown = ranked(outcome)
    best = outcome.best
    if best is not None and best.video.status == "removed":
        chain += (
            " It names a video that a moderator removed, since nothing can be removed there."
            if outcome.final
            else " By these votes a video wins that a moderator removed."
        )
        best = winner(shown)
    if best is None:
        head = f"## Round {round_.number} is closed\n{_nobody(outcome)}"
    else:
        head = (
            f"## Round {round_.number} is decided\n🏆 **{quote(best.video.prompt, 200)}** by "
            f"<@{best.video.member_id}>, with 👍 {best.tally.up} and 👎 {best.tally.down}"
        )
    foot = [*(f"⚠️ {text}" for text in _explained(round_, outcome)), f"-# {card_limits.shorten(chain, MOST_CHAIN)}"]
    room = _room(head, HEADINGS[outcome.source], *foot)
    return view_of(
        ui.TextDisplay(head),
        ui.Separator(),
        ui.TextDisplay(f"{HEADINGS[outcome.source]}\n{standings_text(round_, shown, room=room)}"),
        *(ui.TextDisplay(text) for text in foot),
    )


def _room(*spent: str) -> int:
    """What is left of a message for the standings, beside what else it says."""
    return card_limits.MOST_TEXT - sum(card_limits.length(text) + 1 for text in spent)


def standings_card(round_: Round, outcome: Outcome, views: Mapping[str, int] | None = None) -> ui.LayoutView:
    """`/standings`."""
    state = f"closes <t:{round_.closes_at_ms // 1000}:R>"
    if round_.status == "closed":
        state = f"closed · {HEADINGS[outcome.source]}"
    head = f"### Round {round_.number}: {quote(round_.task, 200)}\n-# {state}"
    foot = [f"⚠️ {text}" for text in _explained(round_, outcome)]
    return view_of(
        ui.TextDisplay(head),
        ui.TextDisplay(standings_text(round_, ranked(outcome), views, room=_room(head, *foot))),
        *(ui.TextDisplay(text) for text in foot),
    )


def refused_note(rounds: Sequence[tuple[int, int, str]]) -> ui.LayoutView:
    """A member is told once what the ledger refused of theirs: the round's number, how many votes, and why."""
    lines: list[str] = []
    room = _room(_ELSEWHERE)
    for number, count, reason in rounds:
        line = (
            f"⚠️ The ledger refused {_votes(count)} of yours in round {number}: {card_limits.shorten(reason, REASON)} "
            f"`/receipt round:{number}` shows which."
        )
        room -= card_limits.length(line) + 1
        if room < 0:
            lines.append(_ELSEWHERE)
            break
        lines.append(line)
    return note("\n".join(lines))


def ranked(outcome: Outcome) -> Sequence[Entry]:
    """The videos that members see, best first."""
    return rank(entry for entry in outcome.entries if entry.video.status != "removed")


def _nobody(outcome: Outcome) -> str:
    if outcome.rejected:
        return "No vote came onto the ledger, so there is no winner."
    return "Nobody voted, so there is no winner."


def _votes(count: int) -> str:
    return "one vote" if count == 1 else f"{count:,} votes"


def _explained(round_: Round, outcome: Outcome) -> Sequence[str]:
    """Why the final result is not the one that stood here before, in sentences; it names no member."""
    if not outcome.final:
        return []
    told = []
    if outcome.rejected:
        were = "was" if outcome.rejected == 1 else "were"
        told.append(
            f"{_votes(outcome.rejected).capitalize()} {were} refused by the ledger; "
            f"`/receipt round:{round_.number}` shows members whose."
        )
    if outcome.absent:
        videos = "One posted video is" if outcome.absent == 1 else f"{outcome.absent} posted videos are"
        told.append(f"{videos} not on the ledger, and without a rank.")
    if outcome.differs and not told:
        told.append("The ledger's tally is not the one that was counted here; the ledger's is the result.")
    if outcome.winner_here is not None:
        told.append(f"As counted here, **{title(outcome.winner_here.video)}** had won.")
    return told
