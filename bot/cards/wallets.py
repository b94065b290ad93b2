"""What members with a wallet see: what there is to sign, and what came of it."""

from __future__ import annotations

import json
from typing import Any

import discord
from discord import ui

from bot.cards import limits as card_limits
from bot.cards.videos import REASON, quote, view_of
from bot.domain.votes import Choice, Standing
from bot.domain.wallets import SigningRequest, Wallet

MOST_LINES = 8


def short(address: str) -> str:
    """An address as wallets shorten it."""
    return f"`{address[:6]}…{address[-4:]}`"


def paste_id(token: str) -> str:
    """The button that asks for a pasted signature."""
    return f"w1:paste:{token}"


def signature_id(token: str) -> str:
    """The form into which it is pasted."""
    return f"w1:signature:{token}"


def signing_card(
    request: SigningRequest, message: dict[str, Any], said: str, page: str | None, lines: list[str]
) -> ui.LayoutView:
    """Asks for a signature: on the page, or by pasting one over the message that is shown."""
    parts: list[ui.Item[Any]] = [ui.TextDisplay("\n".join([said, *lines]))]
    buttons: list[ui.Button[Any]] = []
    address = f"{page}/sign#{request.token}"
    if page and card_limits.length(address) <= card_limits.MOST_URL:
        buttons.append(ui.Button(label="Sign in the browser", url=address, emoji="🖊️"))
    buttons.append(ui.Button(label="Paste a signature", custom_id=paste_id(request.token)))
    parts.append(ui.ActionRow(*buttons))
    text = json.dumps(message, separators=(",", ":"))
    by_hand: ui.TextDisplay[Any] = ui.TextDisplay(
        "-# Without a browser wallet: sign this message (EIP-712), for instance with "
        "`cast wallet sign --data '…'`, and paste what comes out. "
        f"This request is good until <t:{request.expires_at_ms // 1000}:t>.\n```json\n{text}\n```"
    )
    if card_limits.Budget(*parts).take(by_hand):  # a message that is cut could not be signed
        parts.append(by_hand)
    return view_of(*parts)


def link_words(request: SigningRequest) -> str:
    """What a link means, before it is signed."""
    return (
        f"### Vote with {short(request.wallet)}\nOnce this is signed, your votes here count only when that account "
        "has signed them, and only it can undo that. We pay for sending them. Votes that you cast before stay as they "
        "are until you change them.\n⚠️ The ledger shows in public which account voted how. If you lose the account, "
        "nobody can unlink it for you."
    )


def unlink_words(request: SigningRequest) -> str:
    """What unlinking means, before it is signed."""
    return (
        f"### Stop voting with {short(request.wallet)}\nOnce this is signed, the buttons count again, from the next "
        "round in which that account has not voted. What it signed stays, and choices that were not signed are dropped."
    )


def ballot_words(request: SigningRequest) -> str:
    """What a ballot holds, before it is signed."""
    return f"### {_choices(len(request.choices))} to sign with {short(request.wallet)}"


def ballot_lines(request: SigningRequest, prompts: dict[str, str]) -> list[str]:
    """The choices of a ballot in words, as many as fit."""
    lines = [
        f"{one.choice.emoji} {quote(prompts.get(one.video_id, 'a video'), 60)}" for one in request.choices[:MOST_LINES]
    ]
    more = len(request.choices) - MOST_LINES
    return [*lines, f"… and {more} more."] if more > 0 else lines


def chosen_words(standing: Standing) -> str:
    """The answer to a press of somebody who votes by wallet, above what there is to sign."""
    word = {Choice.UP: "up", Choice.DOWN: "down", Choice.WITHDRAWN: "to have no vote"}[standing.choice]
    return (
        f"{standing.choice.emoji} Kept: you chose **{word}** on **{quote(standing.prompt, 80)}**. "
        f"It counts once {short(standing.wallet or '')} has signed it."
    )


def signed_words(request: SigningRequest, minutes: str) -> str:
    """What a signature did."""
    if request.kind == "link":
        return (
            f"🔗 Linked: {short(request.wallet)} votes for you from now on. It is on the chain in {minutes}; "
            "press 👍 or 👎 as before, and sign what you chose."
        )
    if request.kind == "unlink":
        return f"🔓 Unlinked: {short(request.wallet)} no longer votes for you. It is on the chain in {minutes}."
    return (
        f"🖊️ Recorded: {_choices(len(request.choices))} signed by {short(request.wallet)}. "
        f"On the chain in {minutes}; `/receipt` shows where."
    )


def wallet_words(wallet: Wallet | None) -> str:
    """`/wallet show`."""
    if wallet is None or wallet.state == "unlinked":
        return (
            "You have no linked wallet, so you vote with the buttons. To sign your votes instead, use `/wallet link`."
        )
    about = short(wallet.address)
    reason = card_limits.shorten(wallet.reason or "the ledger refused it.", REASON)
    kept = f" ⚠️ It could not be unlinked: {reason}" if wallet.reason else ""
    return {
        "linking": f"🔗 {about} is being linked; it votes for you already, and is on the chain in a minute or so.",
        "linked": f"🔗 {about} votes for you. `/wallet sign` shows what there is to sign.{kept}",
        "unlinking": f"🔓 {about} is being unlinked; that is on the chain in a minute or so.",
        "refused": f"⚠️ {about} could not be linked: {reason} The buttons count.",
    }[wallet.state]


def _choices(count: int) -> str:
    return "1 choice" if count == 1 else f"{count} choices"


def signature_form(token: str) -> ui.Modal:
    """Into which a signature is pasted; answered by its id, also when the bot was restarted in between."""
    form = ui.Modal(title="Paste the signature", custom_id=signature_id(token))
    field: ui.TextInput[Any] = ui.TextInput(
        style=discord.TextStyle.paragraph, custom_id="text", min_length=128, max_length=4000, placeholder="0x…"
    )
    form.add_item(ui.Label(text="Signature", component=field))
    form.stop()
    return form
