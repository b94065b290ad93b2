"""A discord.py bot as anybody would write it; only the two base addresses are not Discord's.

Each command tries one thing and says in its answer what it met, as JSON where a test has to read it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from typing import Any

import discord
from discord import app_commands, ui
from yarl import URL

CLIP = bytes(range(256)) * 600  # 150 kB that no codec knows: only what is served back matters

intents = discord.Intents.none()
intents.guilds = intents.guild_messages = intents.guild_reactions = True


class Press(ui.DynamicItem[ui.Button[Any]], template=r"v1:press:(?P<number>[0-9]+)"):
    """Its state is in its custom id: it answers after any restart."""

    def __init__(self, number: int) -> None:
        super().__init__(ui.Button(label="Press", custom_id=f"v1:press:{number}", emoji="👍"))
        self.number = number

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: Any, match: Any) -> Press:
        return cls(int(match["number"]))

    async def callback(self, interaction: Any) -> None:
        who = interaction.user.name
        await interaction.response.send_message(f"{who} pressed {self.number} of {os.getpid()}", ephemeral=True)


class Feedback(ui.Modal, title="Feedback"):
    text: Any = ui.Label(text="What do you think?", component=ui.TextInput(custom_id="text", max_length=200))

    async def on_submit(self, interaction: Any) -> None:
        await interaction.response.send_message(f"Thank you for “{self.text.component.value}”.", ephemeral=True)


class Bot(discord.AutoShardedClient):
    def __init__(self) -> None:
        super().__init__(intents=intents, allowed_mentions=discord.AllowedMentions.none())
        self.tree = app_commands.CommandTree(self)
        self.met: list[str] = []

    async def setup_hook(self) -> None:
        self.add_dynamic_items(Press)
        add_commands(self.tree, self)
        await self.tree.sync()

    async def on_raw_reaction_add(self, event: Any) -> None:
        self.met.append(f"+{event.emoji} {event.member.name}")

    async def on_raw_reaction_remove(self, event: Any) -> None:
        self.met.append(f"-{event.emoji}")

    async def on_message(self, message: Any) -> None:
        if message.author != self.user:
            self.met.append(f"message {message.author.name} {message.content!r}")

    async def on_resumed(self) -> None:
        self.met.append("resumed")

    async def on_shard_resumed(self, shard_id: int) -> None:
        self.met.append(f"resumed {shard_id}")

    async def on_shard_ready(self, shard_id: int) -> None:
        self.met.append(f"ready {shard_id}")


def card(number: int) -> ui.LayoutView:
    view = ui.LayoutView(timeout=None)
    box: ui.Container[Any] = ui.Container(ui.TextDisplay(f"## Video {number}"), accent_colour=0x336699)
    box.add_item(ui.MediaGallery(discord.MediaGalleryItem("attachment://clip.mp4", description="a clip")))
    row: ui.ActionRow[Any] = ui.ActionRow()
    row.add_item(Press(number))
    row.add_item(ui.Button(label="Watch", url="https://example.org/v/1"))
    row.add_item(ui.Button(label="Feedback", custom_id="feedback"))
    row.add_item(ui.Button(label="Closed", custom_id="closed", disabled=True))
    box.add_item(row)
    view.add_item(box)
    return view


async def code_of(work: Any) -> int:
    """The code of the error that some work ends with; 0 for none."""
    try:
        await work
    except discord.HTTPException as error:
        return error.code
    return 0


def add_commands(tree: Any, bot: Bot) -> None:  # one list, read from top to bottom
    @tree.command(description="Answers at once")
    async def ping(interaction: Any, text: app_commands.Range[str, 1, 100] = "pong") -> None:
        await interaction.response.send_message(text)

    @tree.command(description="Answers one member alone")
    async def secret(interaction: Any) -> None:
        await interaction.response.send_message("for you alone", ephemeral=True)

    @tree.command(description="Takes its time")
    async def slow(interaction: Any) -> None:
        await interaction.response.defer()
        for percent in (0, 50, 100):
            await interaction.edit_original_response(content=f"{percent} %")
            await asyncio.sleep(0.2)
        await interaction.followup.send("done")

    @tree.command(description="Answers after the deadline")
    async def late(interaction: Any, seconds: float) -> None:
        await asyncio.sleep(seconds)
        code = await code_of(interaction.response.send_message("too late"))
        bot.met.append(f"late {code}")

    @tree.command(description="Answers twice")
    async def twice(interaction: Any) -> None:
        await interaction.response.send_message("once")
        again = discord.InteractionResponse(interaction)  # one that does not know of the first answer
        await interaction.edit_original_response(content=str(await code_of(again.send_message("twice"))))

    @tree.command(description="Says what it has met, and forgets it")
    async def met(interaction: Any) -> None:
        told = len(bot.met)
        await interaction.response.send_message(json.dumps(bot.met), ephemeral=True)
        del bot.met[:told]

    @tree.command(description="Posts a card in a thread of its own")
    async def post(interaction: Any, number: int) -> None:
        await interaction.response.defer(ephemeral=True)
        announcement = await interaction.channel.send(f"Round {number}")
        thread = await announcement.create_thread(name=f"Round {number}", auto_archive_duration=1440)
        file = discord.File(io.BytesIO(CLIP), "clip.mp4", description="a clip")
        message = await thread.send(view=card(number), file=file)
        await message.add_reaction("👍")
        await interaction.followup.send(
            json.dumps({"thread": str(thread.id), "message": str(message.id), "limit": interaction.filesize_limit})
        )

    @tree.command(description="Closes a thread")
    async def close(interaction: Any, thread: str) -> None:
        await interaction.response.defer(ephemeral=True)
        found = interaction.guild.get_thread(int(thread))
        message = [message async for message in found.history()][-1]
        await found.edit(archived=True, locked=True)
        edit = await code_of(message.edit(view=ui.LayoutView().add_item(ui.TextDisplay("over"))))
        react = await code_of(message.add_reaction("👎"))
        await interaction.followup.send(json.dumps([found.archived, found.locked, edit, react]))

    @tree.command(description="Who reacted")
    async def reactions(interaction: Any, thread: str, message: str) -> None:
        await interaction.response.defer(ephemeral=True)
        found = await interaction.guild.get_thread(int(thread)).fetch_message(int(message))
        names = {str(r.emoji): sorted([user.name async for user in r.users()]) for r in found.reactions}
        await interaction.followup.send(json.dumps(names))

    @tree.command(description="Posts the same thing twice")
    async def nonce(interaction: Any) -> None:
        await interaction.response.defer(ephemeral=True)
        first = await interaction.channel.send("only once", nonce="video-1")
        second = await interaction.channel.send("only once", nonce="video-1")
        other = await interaction.channel.send("only once", nonce="video-2")
        await interaction.followup.send(json.dumps([first.id == second.id, first.id == other.id]))

    @tree.command(description="Edits one of its messages")
    async def edit(interaction: Any, message: str, text: str) -> None:
        await interaction.response.defer(ephemeral=True)
        await interaction.channel.get_partial_message(int(message)).edit(content=text)
        await interaction.followup.send("edited")

    @tree.command(description="Tries what Discord refuses")
    async def refused(interaction: Any) -> None:
        await interaction.response.defer(ephemeral=True)
        here, public = interaction.channel, discord.ChannelType.public_thread
        evil: Any = ui.LayoutView().add_item(ui.MediaGallery(discord.MediaGalleryItem("javascript:alert(1)")))
        good: Any = ui.LayoutView().add_item(ui.MediaGallery(discord.MediaGalleryItem("https://example.org/a.mp4")))
        huge = discord.File(io.BytesIO(b"x" * (10 * 1024 * 1024 + 1)), "huge.mp4")
        large = discord.File(io.BytesIO(b"x" * (10 * 1024 * 1024)), "large.mp4")
        codes = {"long name": await code_of(here.create_thread(name="n" * 101, type=public))}
        thread = await here.create_thread(name="n" * 100, type=public)
        codes["javascript"] = await code_of(thread.send(view=evil))
        codes["https"] = await code_of(thread.send(view=good))
        codes["too large"] = await code_of(thread.send(file=huge))
        codes["large"] = await code_of(thread.send(file=large))
        codes["long text"] = await code_of(here.send("x" * 2001))
        await interaction.followup.send(json.dumps(codes))

    @tree.command(description="Suggests words")
    async def pick(interaction: Any, word: str) -> None:
        await interaction.response.send_message(word)

    @pick.autocomplete("word")
    async def words(interaction: Any, current: str) -> list[app_commands.Choice[str]]:
        known = ("rain", "rainbow", "sun")
        return [app_commands.Choice(name=w, value=w) for w in known if w.startswith(current)]

    rounds = app_commands.Group(
        name="round",
        description="Rounds",
        guild_only=True,
        default_permissions=discord.Permissions(manage_guild=True),
    )

    @rounds.command(name="open", description="Opens a round")
    async def open_round(interaction: Any, task: str, where: discord.TextChannel, who: discord.Member) -> None:
        await interaction.response.send_message(f"{task} in {where.name} by {who.name}")

    tree.add_command(rounds)

    async def on_interaction(interaction: Any) -> None:
        if interaction.type is discord.InteractionType.component and interaction.data["custom_id"] == "feedback":
            await interaction.response.send_modal(Feedback())

    bot.on_interaction = on_interaction  # type: ignore[attr-defined]


if __name__ == "__main__":
    discord.http.Route.BASE = os.environ["API"]
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(os.environ["GATEWAY"])
    Bot().run(os.environ["TOKEN"], root_logger=True)
