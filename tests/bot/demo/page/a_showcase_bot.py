"""A discord.py bot that shows every kind of thing that the page must be able to show."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Any

import discord
from discord import app_commands, ui
from yarl import URL

MARKDOWN = """# Large
-# small
**bold** *slanted* __under__ ~~gone~~ ||secret|| `code` \\*plain\\* [a link](https://example.org/) <t:1:R>
> a quote
- one
- two
```
<b>block</b>
```"""


class Fields(ui.Modal, title="Two fields"):
    name: Any = ui.Label(text="Name", component=ui.TextInput(custom_id="name", max_length=20))
    words: Any = ui.Label(
        text="Words",
        component=ui.TextInput(custom_id="words", style=discord.TextStyle.paragraph, required=False),
    )

    async def on_submit(self, interaction: Any) -> None:
        said = f"{self.name.component.value}: {self.words.component.value or 'nothing'}"
        await interaction.response.send_message(said, ephemeral=True)


def everything() -> ui.LayoutView:
    view = ui.LayoutView(timeout=None)
    box: ui.Container[Any] = ui.Container(ui.TextDisplay(MARKDOWN), accent_colour=0x11AA55)
    box.add_item(ui.Separator())
    box.add_item(ui.Section("Beside a picture", accessory=ui.Thumbnail("attachment://dot.png", description="a dot")))
    box.add_item(ui.Section("Beside a button", accessory=ui.Button(label="Fields", custom_id="fields")))
    box.add_item(ui.MediaGallery(discord.MediaGalleryItem("attachment://dot.png", description="the same dot")))
    box.add_item(ui.File("attachment://words.txt"))
    options = [discord.SelectOption(label=word, description=f"it is {word}") for word in ("rain", "sun")]
    box.add_item(ui.ActionRow(ui.Select(custom_id="weather", placeholder="Which weather?", options=options)))
    box.add_item(
        ui.ActionRow(
            ui.Button(label="Off", custom_id="off", disabled=True), ui.Button(label="Out", url="https://example.org/")
        )
    )
    view.add_item(box)
    view.stop()
    return view


DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


class Bot(discord.Client):
    def __init__(self) -> None:
        intents = discord.Intents.none()
        intents.guilds = True
        super().__init__(intents=intents)
        self.tree = app_commands.CommandTree(self)

    async def setup_hook(self) -> None:
        add_commands(self.tree)
        await self.tree.sync()

    async def on_interaction(self, interaction: Any) -> None:
        if interaction.type is not discord.InteractionType.component:
            return
        if interaction.data["custom_id"] == "fields":
            await interaction.response.send_modal(Fields())
        elif interaction.data["custom_id"] == "weather":
            await interaction.response.send_message(f"So it is {interaction.data['values'][0]}.", ephemeral=True)


def add_commands(tree: Any) -> None:
    @tree.command(description="Shows everything")
    async def showcase(interaction: Any) -> None:
        files = [discord.File(io.BytesIO(DOT), "dot.png"), discord.File(io.BytesIO(b"words"), "words.txt")]
        await interaction.response.send_message(view=everything(), files=files)

    @tree.command(description="Suggests words")
    async def pick(interaction: Any, word: str, loud: bool = False) -> None:
        await interaction.response.send_message(word.upper() if loud else word)

    @pick.autocomplete("word")
    async def words(interaction: Any, current: str) -> list[app_commands.Choice[str]]:
        known = {"rain": "the rain", "rainbow": "a rainbow", "sun": "the sun"}
        return [
            app_commands.Choice(name=word, value=value) for word, value in known.items() if word.startswith(current)
        ]

    @tree.command(description="Thinks for a while, and changes its mind")
    async def think(interaction: Any) -> None:
        await interaction.response.defer()
        await asyncio.sleep(1.5)
        message = await interaction.followup.send("first thought", wait=True)
        await asyncio.sleep(0.5)
        await message.edit(content="second thought")

    @tree.command(description="Never answers")
    async def silence(interaction: Any) -> None:
        pass

    @tree.command(description="Posts in the forum")
    async def post(interaction: Any) -> None:
        forum = next(channel for channel in interaction.guild.channels if isinstance(channel, discord.ForumChannel))
        made = await forum.create_thread(name="An idea", content="more clouds")
        await interaction.response.send_message(f"There it is: {made.thread.mention}", ephemeral=True)


if __name__ == "__main__":
    discord.http.Route.BASE = os.environ["API"]
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(os.environ["GATEWAY"])
    Bot().run(os.environ["TOKEN"], root_logger=True)
