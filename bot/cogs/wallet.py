"""`/wallet`: members whose own account signs their votes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cards import layout
from bot.cards import wallets as wallet_cards
from bot.cogs.replies import answer, answer_error, first_text, insist
from bot.domain.errors import MemberError, SigningOverError, UnreadableButtonError
from bot.domain.votes import Standing
from bot.domain.wallets import TOKEN, SigningRequest
from bot.posts.once import marks
from bot.store import signing_requests, videos, wallets

if TYPE_CHECKING:
    from bot.app import App

_PASTE = rf"w1:paste:(?P<token>{TOKEN})"
_SIGNATURE = re.compile(rf"w1:signature:(?P<token>{TOKEN})")


class PasteButton(ui.DynamicItem[ui.Button[Any]], template=_PASTE):
    """Asks for a signature that was made elsewhere. Its whole state is its custom id."""

    def __init__(self, token: str) -> None:
        super().__init__(ui.Button(custom_id=wallet_cards.paste_id(token)))
        self.token = token

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction[Any], _item: ui.Item[Any], match: re.Match[str], /
    ) -> PasteButton:
        return cls(match["token"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await _ask_for_signature(interaction, self.token)


async def _ask_for_signature(interaction: discord.Interaction[Any], token: str) -> None:
    try:
        await insist(lambda: interaction.response.send_modal(wallet_cards.signature_form(token)))
    except Exception as error:
        await answer_error(interaction, error)


async def chosen_answer(app: App, interaction: discord.Interaction[Any], standing: Standing) -> ui.LayoutView:
    """The answer to a press of somebody who votes by wallet: it is kept, and this is what there is to sign."""
    said = wallet_cards.chosen_words(standing)
    try:
        request = await app.signing.ballot(interaction.guild_id or 0, interaction.user.id)
        return await _asked(app, request, f"{said}\n{wallet_cards.ballot_words(request)}")
    except MemberError as error:  # the choice is kept all the same
        return layout.note(f"{said}\n{error.sentence}")


async def _asked(app: App, request: SigningRequest, said: str) -> ui.LayoutView:
    message = await app.signing.message(request)
    prompts = await videos.prompts_of(app.database, [one.video_id for one in request.choices])
    lines = wallet_cards.ballot_lines(request, prompts)
    return wallet_cards.signing_card(request, message, said, app.settings.signing_url, lines)


class Wallets(commands.GroupCog, group_name="wallet", group_description="Vote with an account of your own."):
    """The commands, and the form for pasted signatures."""

    def __init__(self, app: App) -> None:
        self.app = app

    @app_commands.command(name="link", description="Let an account of yours sign your votes in this server.")
    @app_commands.describe(address="The account's address: 0x and 40 digits.")
    @app_commands.guild_only()
    async def link(self, interaction: discord.Interaction[Any], address: app_commands.Range[str, 1, 100]) -> None:
        async def ask() -> ui.LayoutView:
            request = await self.app.signing.link(interaction.guild_id or 0, interaction.user.id, address)
            return await _asked(self.app, request, wallet_cards.link_words(request))

        await answer(interaction, ask())

    @app_commands.command(name="unlink", description="Vote with the buttons again.")
    @app_commands.guild_only()
    async def unlink(self, interaction: discord.Interaction[Any]) -> None:
        async def ask() -> ui.LayoutView:
            request = await self.app.signing.unlink(interaction.guild_id or 0, interaction.user.id)
            return await _asked(self.app, request, wallet_cards.unlink_words(request))

        await answer(interaction, ask())

    @app_commands.command(name="sign", description="Sign what you chose in the open round.")
    @app_commands.guild_only()
    async def sign(self, interaction: discord.Interaction[Any]) -> None:
        async def ask() -> ui.LayoutView:
            request = await self.app.signing.ballot(interaction.guild_id or 0, interaction.user.id)
            return await _asked(self.app, request, wallet_cards.ballot_words(request))

        await answer(interaction, ask())

    @app_commands.command(name="show", description="Which account votes for you here.")
    @app_commands.guild_only()
    async def show(self, interaction: discord.Interaction[Any]) -> None:
        async def tell() -> ui.LayoutView:
            found = await wallets.of_member_or_none(self.app.database, interaction.guild_id or 0, interaction.user.id)
            return layout.note(wallet_cards.wallet_words(found))

        await answer(interaction, tell())

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        data: dict[str, Any] = dict(interaction.data or {})
        custom_id = str(data.get("custom_id", ""))
        if not custom_id.startswith("w1:"):
            return
        if interaction.type is discord.InteractionType.modal_submit and (match := _SIGNATURE.fullmatch(custom_id)):
            await answer(interaction, self._take(interaction, match["token"], first_text(data.get("components", []))))
        elif interaction.type is discord.InteractionType.component and (match := re.fullmatch(_PASTE, custom_id)):
            if interaction.message is None or custom_id not in marks(interaction.message):
                await _ask_for_signature(interaction, match["token"])  # discord.py calls no DynamicItem for it
        else:
            await answer_error(interaction, UnreadableButtonError())

    async def _take(self, interaction: discord.Interaction[Any], token: str, text: str) -> ui.LayoutView:
        asked = await signing_requests.get(self.app.database, token)
        if (asked.guild_id, asked.member_id) != (interaction.guild_id, interaction.user.id):
            raise SigningOverError
        await self.app.signing.sign(token, text)
        return layout.note(wallet_cards.signed_words(asked, layout.minutes(self.app.on_chain_s)))
