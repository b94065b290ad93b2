"""`/wallet`: members whose own account signs their votes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.cards import videos as video_cards
from bot.cards import wallets as wallet_cards
from bot.client import Interaction
from bot.cogs.replies import answer, send_form
from bot.domain.errors import MemberError, SigningOverError
from bot.domain.policy import clean_text
from bot.domain.votes import Standing
from bot.domain.wallets import TOKEN, Names, SigningRequest
from bot.signing.requests import SigningRequests
from bot.store import signing_requests, videos, wallets

_PASTE = re.compile(rf"w1:paste:(?P<token>{TOKEN})")
_SIGNATURE = re.compile(rf"w1:signature:(?P<token>{TOKEN})")


class Wallets(commands.GroupCog, group_name="wallet", group_description="Vote with a wallet of your own."):
    """The commands, and the route of the button and the form for pasted signatures."""

    def __init__(
        self, *, database: AsyncEngine, signing: SigningRequests, signing_url: str | None, on_ledger_s: float
    ) -> None:
        """`signing_url` is the address of the signing page, or None if there is none.

        `on_ledger_s` is about how many seconds an entry takes to the ledger.
        """
        self._database = database
        self._signing = signing
        self._signing_url = signing_url
        self._on_ledger_s = on_ledger_s
        super().__init__()

    @app_commands.command(name="link", description="Link a wallet that signs your votes in this server.")
    @app_commands.describe(address="The wallet's address: 0x and 40 hexadecimal digits.")
    @app_commands.guild_only()
    async def link(self, interaction: Interaction, address: app_commands.Range[str, 1, 100]) -> None:
        guild_id, member_id, names = _asker(interaction)
        await answer(
            interaction,
            self._ask(lambda: self._signing.link(guild_id, member_id, address, names), wallet_cards.link_words),
        )

    @app_commands.command(name="unlink", description="Unlink your wallet and vote with the buttons alone again.")
    @app_commands.guild_only()
    async def unlink(self, interaction: Interaction) -> None:
        asker = _asker(interaction)
        await answer(interaction, self._ask(lambda: self._signing.unlink(*asker), wallet_cards.unlink_words))

    @app_commands.command(name="sign", description="Sign your choices in the current round.")
    @app_commands.guild_only()
    async def sign(self, interaction: Interaction) -> None:
        asker = _asker(interaction)
        await answer(interaction, self._ask(lambda: self._signing.ballot(*asker), wallet_cards.ballot_words))

    @app_commands.command(name="show", description="Show the wallet that votes for you in this server.")
    @app_commands.guild_only()
    async def show(self, interaction: Interaction) -> None:
        await answer(interaction, self._show(interaction.guild_id or 0, interaction.user.id))

    async def _ask(
        self, request_of: Callable[[], Awaitable[SigningRequest]], words_of: Callable[[SigningRequest], str]
    ) -> ui.LayoutView:
        """Make a signing request, and return the card that asks for its signature."""
        request = await request_of()
        return await self._signing_card(request, words_of(request))

    async def _signing_card(self, request: SigningRequest, words: str) -> ui.LayoutView:
        message = await self._signing.message(request)
        about = await videos.by_ids(self._database, [choice.video_id for choice in request.choices])
        prompts = {video_id: video_cards.plain_title(video) for video_id, video in about.items()}
        lines = wallet_cards.ballot_lines(request, prompts)
        return wallet_cards.signing_card(request, message, words, self._signing_url, lines)

    async def _show(self, guild_id: int, member_id: int) -> ui.LayoutView:
        wallet = await wallets.of_member_or_none(self._database, guild_id, member_id)
        return layout.note(wallet_cards.wallet_words(wallet))

    async def chosen_answer(self, interaction: Interaction, standing: Standing) -> ui.LayoutView:
        """Return the answer to a press of a member who votes by wallet.

        It says that the choice is kept, and shows what there is to sign.
        """
        words = wallet_cards.chosen_words(standing)
        try:
            request = await self._signing.ballot(*_asker(interaction))
            return await self._signing_card(request, f"{words}\n{wallet_cards.ballot_words(request)}")
        except MemberError as error:  # the choice is kept all the same
            return layout.note(f"{words}\n{error.sentence}")

    # ------------------------------------------------------------------ signatures that were made elsewhere

    async def pressed(self, interaction: Interaction, custom_id: str) -> bool:
        """Answer a press of the button that asks for a signature. Return False if it has no such id."""
        match = _PASTE.fullmatch(custom_id)
        if match is None:
            return False
        await send_form(interaction, wallet_cards.signature_form(match["token"]))
        return True

    async def submitted(self, interaction: Interaction, custom_id: str, text: str) -> bool:
        """Answer the form with a signature. Return False if it has no such id."""
        match = _SIGNATURE.fullmatch(custom_id)
        if match is None:
            return False
        await answer(interaction, self._take(interaction, match["token"], text))
        return True

    async def _take(self, interaction: Interaction, token: str, text: str) -> ui.LayoutView:
        """Take a signature for a request of this member. Raises SigningOverError for a request of anybody else."""
        request = await signing_requests.get(self._database, token)
        if (request.guild_id, request.member_id) != (interaction.guild_id, interaction.user.id):
            raise SigningOverError
        await self._signing.sign(token, text)
        return layout.note(wallet_cards.signed_words(request, layout.minutes(self._on_ledger_s)))


def _asker(interaction: Interaction) -> tuple[int, int, Names]:
    """Return the ids of the server and the member who ask, and their names for the signing page."""
    server = clean_text(interaction.guild.name) if interaction.guild is not None else ""
    return interaction.guild_id or 0, interaction.user.id, Names(server, clean_text(interaction.user.name))
