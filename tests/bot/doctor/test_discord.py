"""The checks of Discord, against an embedded one: the permissions in each server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import discord
import pytest
from simcord.backend.models.channel import Overwrite
from simcord.enums import OverwriteType

from bot.demo.discord.server import DiscordConfig, EmbeddedDiscord
from bot.doctor.check import Check
from bot.permissions import PERMISSIONS
from bot.store.rounds import set_up_guild
from migrations.database import open_database, upgrade_database
from tests.bot.conftest import free_port
from tests.builders.doctor import checks_of


async def test_a_missing_permission_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The rounds' channel denies the bot one thing: the check names it, and nothing else. A lost server is told too."""
    url = f"sqlite:///{tmp_path}/flock.db"
    await upgrade_database(url)
    server = EmbeddedDiscord(DiscordConfig(tmp_path / "discord", "the-bots-token", "the-control-token"))
    await server.start()
    assert server.world is not None
    database = open_database(url)
    try:
        backend, guild = server.world.backend, server.world.guild_id
        channel = next(c for c in backend.channels.values() if c.name == "videos")
        await set_up_guild(database, guild, channel.id, 1)
        base = f"http://127.0.0.1:{server.port}/api/v10"
        where = {
            "FLOCK_DATABASE_URL": url,
            "FLOCK_DISCORD_API_BASE": base,
            "FLOCK_DISCORD_TOKEN": "the-bots-token",
        }
        whole = await checks_of(monkeypatch, where)
        assert whole[f"server {guild}"].ok
        the_bot_can_be_invited(whole["invitation"])

        deny = Overwrite(
            target_id=guild, type=OverwriteType.ROLE, allow=0, deny=discord.Permissions(attach_files=True).value
        )
        backend.edit_channel(channel.id, {}, overwrites=[deny], thread_metadata=None)
        found = (await checks_of(monkeypatch, where))[f"server {guild}"]
        assert not found.ok
        assert found.detail == "not allowed in #videos: attach files"

        await set_up_guild(database, guild, 424242, 1)
        await set_up_guild(database, 434343, channel.id, 1)
        found_all = await checks_of(monkeypatch, where)
        assert "gone or hidden" in found_all[f"server {guild}"].detail
        assert "not in it any more" in found_all["server 434343"].detail
        assert found_all["Discord"].ok
    finally:
        await database.dispose()
        await server.close()


def the_bot_can_be_invited(check: Check) -> None:
    """The link asks for slash commands and for exactly the permissions that the bot uses."""
    said, link = check.detail.split("; invite it with ")
    assert said == "the bot is in 1 server"
    asked = dict(parse_qsl(urlsplit(link).query))
    assert link.startswith("https://discord.com/oauth2/authorize?")
    assert asked["scope"].split() == ["bot", "applications.commands"]
    assert discord.Permissions(int(asked["permissions"])) == PERMISSIONS
    assert not PERMISSIONS.administrator
    assert asked["client_id"].isdigit()


async def test_a_discord_that_is_not_there_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Servers that were set up are not looked at then; with a database that is away as well, both are told."""
    url = f"sqlite:///{tmp_path}/flock.db"
    await upgrade_database(url)
    database = open_database(url)
    await set_up_guild(database, 424242, 434343, 1)
    await database.dispose()
    where = {"FLOCK_DATABASE_URL": url, "FLOCK_DISCORD_API_BASE": f"http://127.0.0.1:{free_port()}/api/v10"}
    found = await checks_of(monkeypatch, where, FLOCK_DISCORD_TOKEN="the-bots-token")
    assert [name for name, check in found.items() if "reached" in check.detail] == ["Discord"]
