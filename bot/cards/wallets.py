"""The messages to members with a wallet: requests to sign, and the answers to signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping

import discord
from discord import ui
from eth_utils.address import to_checksum_address

from bot.cards import limits
from bot.cards.layout import quote, row, sentence, view_of
from bot.cards.limits import Button, Item, text_item
from bot.domain.amounts import amount
from bot.domain.votes import Choice, Standing
from bot.domain.wallets import SigningRequest, Wallet, WalletState
from migrations.states.community import SigningKind

MOST_LINES = 8  # choices of a ballot that are shown


def whole(address: str) -> str:
    """Return an address with all its digits and its checksum: another one with the same ends is made in seconds."""
    return f"`{to_checksum_address(address)}`"


def short(address: str) -> str:
    """Return an address as wallets shorten it: for a reminder beside the whole one, where nothing is decided by it."""
    return f"`{address[:6]}…{address[-4:]}`"


def paste_id(token: str) -> str:
    """Return the id of the button that opens the form for a signature."""
    return f"w1:paste:{token}"


def signature_id(token: str) -> str:
    """Return the id of the form for a signature."""
    return f"w1:signature:{token}"


def signing_card(
    request: SigningRequest, message: Mapping[str, object], text: str, page: str | None, lines: list[str]
) -> ui.LayoutView:
    """Return the card that asks for a signature: on the page, or pasted, over the message that the card shows."""
    parts: list[Item] = [text_item("\n".join([text, *lines]))]
    buttons: list[Button] = []
    address = f"{page}/sign#{request.token}"
    if page and limits.length(address) <= limits.MOST_URL:
        buttons.append(ui.Button(label="Sign in the browser", url=address, emoji="🖊️"))
    buttons.append(ui.Button(label="Paste a signature", custom_id=paste_id(request.token)))
    parts.append(row(*buttons))
    typed_data = json.dumps(message, separators=(",", ":"))
    by_hand = text_item(
        "-# Without a browser wallet: sign this message (EIP-712), for example with "
        "`cast wallet sign --data '…'`, and paste the result. "
        f"This request expires <t:{request.expires_at_ms // 1000}:R>.\n```json\n{typed_data}\n```"
    )
    if limits.Budget(*parts).take(by_hand):  # a message that was cut could not be signed
        parts.append(by_hand)
    return view_of(*parts)


def link_words(request: SigningRequest) -> str:
    """Return the meaning of a link, to read before signing."""
    return (
        f"### Vote with {whole(request.wallet)}\nOnce you sign this, your votes here count only after that account "
        "has signed them, and only that account can undo this. We pay for sending them to the ledger. Votes that you "
        "cast earlier stay as they are until you change them.\n⚠️ Everybody can see on the ledger which account voted "
        "how. If you lose the account, nobody can unlink it for you."
    )


def unlink_words(request: SigningRequest) -> str:
    """Return the meaning of an unlink, to read before signing."""
    return (
        f"### Stop voting with {whole(request.wallet)}\nOnce you sign this, the buttons count again, from the next "
        "round in which that account has not voted. Votes that it signed stay; unsigned choices are dropped."
    )


def ballot_words(request: SigningRequest) -> str:
    """Return the heading of a ballot, to read before signing."""
    return f"### {amount(len(request.choices), 'choice')} to sign with {whole(request.wallet)}"


def ballot_lines(request: SigningRequest, prompts: Mapping[str, str]) -> list[str]:
    """Return the choices of a ballot in words, as many as fit."""
    lines = [
        f"{choice.choice.emoji} {quote(prompts.get(choice.video_id, 'a video'), 60)}"
        for choice in request.choices[:MOST_LINES]
    ]
    more = len(request.choices) - MOST_LINES
    return [*lines, f"… and {more:,} more."] if more > 0 else lines


def chosen_words(standing: Standing) -> str:
    """Return the answer to a press of a member who votes by wallet, above the request to sign."""
    word = {Choice.UP: "up", Choice.DOWN: "down", Choice.WITHDRAWN: "no vote"}[standing.choice]
    return (
        f"{standing.choice.emoji} Saved: you chose **{word}** on **{quote(standing.prompt, 80)}**. "
        f"It counts once {short(standing.wallet or '')} has signed it."
    )


def signed_words(request: SigningRequest, minutes: str) -> str:
    """Return the answer to a signature."""
    if request.kind == SigningKind.LINK:
        return (
            f"🔗 Linked: {whole(request.wallet)} votes for you from now on. This will be on the ledger in {minutes}. "
            "Press 👍 or 👎 as before, then sign your choices."
        )
    if request.kind == SigningKind.UNLINK:
        return f"🔓 Unlinked: {whole(request.wallet)} no longer votes for you. The ledger will show this in {minutes}."
    return (
        f"🖊️ Recorded: {amount(len(request.choices), 'choice')} signed by {whole(request.wallet)}. "
        f"On the ledger in {minutes}; `/receipt` shows where."
    )


def wallet_words(wallet: Wallet | None) -> str:
    """Return the answer to `/wallet show`."""
    if wallet is None or wallet.state == WalletState.UNLINKED:
        return (
            "You have no linked wallet, so you vote with the buttons. To sign your votes instead, use `/wallet link`."
        )
    address = whole(wallet.address)
    reason = sentence(wallet.reason or "the ledger rejected it.")
    trouble = f" ⚠️ It could not be unlinked: {reason}" if wallet.reason else ""
    return {
        WalletState.LINKING: f"🔗 {address} votes for you already. The link will be on the ledger in about a minute.",
        WalletState.LINKED: f"🔗 {address} votes for you. `/wallet sign` shows what there is to sign.{trouble}",
        WalletState.UNLINKING: f"🔓 {address} is being unlinked. This takes about a minute.",
        WalletState.REFUSED: f"⚠️ {address} could not be linked: {reason} You vote with the buttons.",
    }[wallet.state]


def signature_form(token: str) -> ui.Modal:
    """Return the form for a signature. The answer is found by the form's id, also after a restart of the bot."""
    form = ui.Modal(title="Paste the signature", custom_id=signature_id(token))
    field: ui.TextInput[ui.LayoutView] = ui.TextInput(
        style=discord.TextStyle.paragraph, custom_id="text", min_length=128, max_length=4000, placeholder="0x…"
    )
    form.add_item(ui.Label(text="Signature", component=field))
    form.stop()
    return form
