"""The receipt: a member's votes of a round, as the ledger has them."""

from __future__ import annotations

from collections.abc import Sequence

from discord import ui

from bot.cards import limits
from bot.cards.layout import sentence, view_of
from bot.cards.limits import Item, text_item
from bot.cards.videos import CHOICE_WORDS, title
from bot.domain.amounts import amount
from bot.domain.ledger_links import PublicLedger
from bot.domain.rounds import Round
from bot.domain.videos import Video
from bot.domain.votes import Choice
from contracts.outbox.progress import VoteReceipt
from migrations.states.ledger import OutboxState

MOST_RECEIPTS = 11


def receipt_card(
    round_: Round, lines: Sequence[tuple[Video, VoteReceipt]], voter_id: str, ledger: PublicLedger, check: str
) -> ui.LayoutView:
    """Return the answer to `/receipt`: a member's votes in a round, where each stands, and how to check them alone.

    One plain line comes first: most members want to know no more than that.
    """
    summary = _summary([receipt for _, receipt in lines])
    head = text_item(f"{summary}\n### Your votes in round {round_.number}")
    foot = text_item(
        f"Your voter id in this server is `{voter_id}`. Only we can link it to you.\n"
        f"To check your votes without us, from the ledger alone, run: `{check}`"
    )
    more = "… and {:,} more; the command below shows all of them."
    separator: Item = ui.Separator()
    budget = limits.Budget(head, foot, separator, text_item(more.format(1_000_000)))
    items: list[Item] = []
    for video, receipt in lines[:MOST_RECEIPTS]:
        item = text_item(_receipt_line(video, receipt, ledger))
        if not budget.take(item):
            break
        items.append(item)
    rest = [text_item(more.format(len(lines) - len(items)))] if len(lines) > len(items) else []
    return view_of(head, *items, *rest, separator, foot)


def _summary(receipts: Sequence[VoteReceipt]) -> str:
    """Return in one line whether a member's votes count."""
    # A withdrawal that was rejected withdraws nothing.
    votes = [each for each in receipts if each.choice != Choice.WITHDRAWN or each.state == OutboxState.REJECTED]
    count = len(votes)
    if not votes:
        return "You have withdrawn your vote." if len(receipts) == 1 else "You have withdrawn all your votes."
    final = sum(receipt.state == OutboxState.FINAL for receipt in votes)
    rejected = sum(receipt.state == OutboxState.REJECTED for receipt in votes)
    if rejected:
        one = "Your withdrawal was" if votes[0].choice == Choice.WITHDRAWN else "Your vote was"
        some = one if count == 1 else f"{rejected:,} of your {amount(count, 'vote')} {_was(rejected)}"
        return f"⚠️ **{some} not recorded on the ledger.** The reason is below."
    if final == count:
        if count == 1:
            return "**Your vote counts ✓** It's on the ledger for good."
        return f"**Your {amount(count, 'vote')} count ✓** They're on the ledger for good."
    if final == 0:
        saved = "Your vote is saved." if count == 1 else f"Your {amount(count, 'vote')} are saved."
        return f"⏳ **{saved}** On the way to the ledger."
    is_ = "is" if final == 1 else "are"
    return f"⏳ **{final:,} of your {amount(count, 'vote')} {is_} on the ledger ✓** The others are on the way."


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _receipt_line(video: Video, receipt: VoteReceipt, ledger: PublicLedger) -> str:
    choice = Choice(receipt.choice)
    if receipt.state == OutboxState.FINAL and receipt.tx is not None:
        transaction = ledger.transaction(receipt.tx)
        how = "signed by your wallet" if receipt.signed else f"batch {receipt.seq}"
        seat = "" if receipt.seat is None else f" · seat {receipt.seat}"
        place = f"video {receipt.video_number} on the ledger{seat} · {how} · transaction {transaction}"
    elif receipt.state == OutboxState.REJECTED:
        reason = sentence(receipt.reason or "the ledger rejected it.")
        place = f"⚠️ not on the ledger: {reason}"
        if receipt.standing:
            place += f" Your earlier choice **{CHOICE_WORDS[Choice(receipt.standing)]}** counts instead."
    else:
        place = "signed, and on its way to the ledger" if receipt.signed else "on its way to the ledger"
    return f"{choice.emoji} **{title(video)}**: {CHOICE_WORDS[choice]}\n-# {place}"
