"""The checks of Discord: the token, the gateway, our clock, and the bot's permissions in each server after `/setup`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import discord
import httpx
from sqlalchemy import select

from bot.client import point_at
from bot.doctor.check import Check, Look
from bot.doctor.database import is_up_to_date, read_database
from bot.domain.errors import OperatorError
from bot.permissions import PERMISSIONS
from bot.settings import Settings, reveal
from migrations.schema import guilds

DISCORD_API = "https://discord.com/api/v10"
MOST_SKEW_S = 30.0
MOST_SERVERS = 200  # in one answer of Discord's


async def account(settings: Settings) -> Sequence[Check]:
    """Check the token, the sessions that it may still begin today, and our clock against Discord's."""
    base = (settings.discord_api_base or DISCORD_API).rstrip("/")
    headers = {"Authorization": f"Bot {reveal(settings.discord_token)}"}
    async with httpx.AsyncClient(timeout=10, headers=headers) as client:
        me = await client.get(f"{base}/users/@me")
        skew = _skew(me)
        if me.status_code == 401:
            remedy = "Copy the bot's token from the developer portal into FLOCK_DISCORD_TOKEN again."
            return [Check(False, "Discord", "the token was refused", remedy), *skew]
        me.raise_for_status()
        gateway = await client.get(f"{base}/gateway/bot")
        gateway.raise_for_status()
        invitation = await _invitation(client, base)
    sessions = int(gateway.json().get("session_start_limit", {}).get("remaining", 1))
    checks = [Check(True, "Discord", f"logged in as {me.json().get('username')}; no privileged intent is needed")]
    if sessions == 0:
        remedy = "Wait until tomorrow, and find out why the bot restarts so often."
        checks.append(Check(False, "gateway", "no new session may begin today", remedy))
    else:
        checks.append(Check(True, "gateway", f"{sessions} new sessions may begin today"))
    return [*checks, invitation, *skew]


async def _invitation(client: httpx.AsyncClient, base: str) -> Check:
    """Return the link with which the bot is invited, and in how many servers it is."""
    application = await client.get(f"{base}/applications/@me")
    application.raise_for_status()
    facts = application.json()
    count = facts.get("approximate_guild_count")
    if count is None:
        guilds = await client.get(f"{base}/users/@me/guilds", params={"limit": MOST_SERVERS})
        guilds.raise_for_status()
        count = len(guilds.json())
    where = f"the bot is in {count} server{'s' * (count != 1)}" if count else "the bot is in no server yet"
    return Check(True, "invitation", f"{where}; invite it with {invite_link(int(facts['id']))}")


def invite_link(application_id: int) -> str:
    """Return the link that invites the bot with what it needs: slash commands, and no permission beyond its own."""
    return discord.utils.oauth_url(
        application_id, permissions=PERMISSIONS, scopes=("bot", "applications.commands")
    ).replace("%20", "+")


def _skew(answer: httpx.Response) -> list[Check]:
    try:
        server_time = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return []
    skew = time.time() - server_time
    if abs(skew) > MOST_SKEW_S:
        remedy = "Set the clock (NTP): otherwise rounds open and close at wrong times."
        return [Check(False, "clock", f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Discord's", remedy)]
    return [Check(True, "clock", "agrees with Discord's")]


async def servers(settings: Settings) -> Sequence[Check]:
    """Check the permissions in the channel of each server's rounds, computed by Discord's rules."""
    if not await is_up_to_date(settings):
        return []
    query = select(guilds.c.guild_id, guilds.c.rounds_channel_id)
    places = await read_database(settings, lambda connection: [tuple(row) for row in connection.execute(query)])
    if not places:
        return [Check(True, "servers", "none is set up yet; a moderator can do that with `/setup`")]
    point_at(settings)
    async with discord.Client(intents=discord.Intents.none()) as client:
        try:
            await client.login(reveal(settings.discord_token))
        except discord.LoginFailure:
            raise OperatorError("the token was refused") from None
        return [await _server(client, guild_id, channel_id) for guild_id, channel_id in places]


async def _server(client: discord.Client, guild_id: int, channel_id: int) -> Check:
    name = f"server {guild_id}"
    try:
        guild = await client.fetch_guild(guild_id, with_counts=False)
        me = await guild.fetch_member(client.user.id if client.user else 0)
    except (discord.NotFound, discord.Forbidden):
        remedy = "Invite it again, or leave things as they are: no other server suffers."
        return Check(False, name, "the bot is not in it any more", remedy)
    try:
        channel = await guild.fetch_channel(channel_id)
    except (discord.NotFound, discord.Forbidden):
        remedy = "Ask a moderator to run `/setup` again."
        return Check(False, name, "the channel of its rounds is gone or hidden", remedy)
    have = channel.permissions_for(me)
    missing = [each.replace("_", " ") for each, needed in PERMISSIONS if needed and not getattr(have, each)]
    if missing:
        remedy = "Give the bot's role these permissions in that channel, then run `/setup` again."
        return Check(False, name, f"not allowed in #{channel.name}: {', '.join(missing)}", remedy)
    return Check(True, name, f"everything needed is allowed in #{channel.name}")


_NEEDS, _READS = ("discord_token",), ("discord_api_base",)
LOOKS = (
    Look("Discord", account, "Check FLOCK_DISCORD_API_BASE and the network.", _NEEDS, _READS),
    Look(
        "servers",
        servers,
        "Mend Discord or the database first, as said above.",
        _NEEDS,
        _READS,
        rests_on=("Discord", "database"),
    ),
)
