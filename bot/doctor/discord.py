"""Discord: the token, the gateway, our clock, and what the bot may do in each server where `/setup` was done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import discord
import httpx
from sqlalchemy import select

from bot.app import secret
from bot.client import point_at
from bot.doctor.check import Check, Look
from bot.doctor.database import is_today, look_into
from bot.domain.errors import OperatorError
from bot.permissions import PERMISSIONS
from bot.settings import Settings
from migrations.schema import guilds

DISCORD_API = "https://discord.com/api/v10"
MOST_SKEW_S = 30.0


async def account(settings: Settings) -> Sequence[Check]:
    """The token, how many sessions it may still begin today, and whether our clock agrees with Discord's."""
    base = (settings.discord_api_base or DISCORD_API).rstrip("/")
    headers = {"Authorization": f"Bot {secret(settings.discord_token)}"}
    async with httpx.AsyncClient(timeout=10, headers=headers) as client:
        me = await client.get(f"{base}/users/@me")
        skew = _skew(me)
        if me.status_code == 401:
            remedy = "Copy the bot's token anew from the developer portal into FLOCK_DISCORD_TOKEN."
            return [Check(False, "Discord", "the token was refused", remedy), *skew]
        me.raise_for_status()
        gateway = await client.get(f"{base}/gateway/bot")
        gateway.raise_for_status()
    left = int(gateway.json().get("session_start_limit", {}).get("remaining", 1))
    checks = [Check(True, "Discord", f"logged in as {me.json().get('username')}; no privileged intent is needed")]
    if left == 0:
        checks.append(
            Check(False, "gateway", "no new session may begin today", "Wait; find out what restarts so often.")
        )
    else:
        checks.append(Check(True, "gateway", f"{left} new sessions may begin today"))
    return [*checks, *skew]


def _skew(answer: httpx.Response) -> list[Check]:
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return []
    off = time.time() - theirs
    if abs(off) > MOST_SKEW_S:
        remedy = "Set the clock (NTP): rounds would open and close at wrong times."
        return [Check(False, "clock", f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} Discord's", remedy)]
    return [Check(True, "clock", "agrees with Discord's")]


async def servers(settings: Settings) -> Sequence[Check]:
    """The permissions in the channel of each server's rounds, computed by Discord's rules."""
    if not await is_today(settings):
        return []
    query = select(guilds.c.guild_id, guilds.c.rounds_channel_id)
    places = await look_into(settings, lambda connection: [tuple(row) for row in connection.execute(query)])
    if not places:
        return [Check(True, "servers", "none is set up yet; a moderator does that with `/setup`")]
    point_at(settings)
    async with discord.Client(intents=discord.Intents.none()) as client:
        try:
            await client.login(secret(settings.discord_token))
        except discord.LoginFailure:
            raise OperatorError("the token was refused") from None
        return [await _server(client, guild_id, channel_id) for guild_id, channel_id in places]


async def _server(client: discord.Client, guild_id: int, channel_id: int) -> Check:
    what = f"server {guild_id}"
    try:
        guild = await client.fetch_guild(guild_id, with_counts=False)
        me = await guild.fetch_member(client.user.id if client.user else 0)
    except (discord.NotFound, discord.Forbidden):
        return Check(
            False, what, "the bot is not in it any more", "Invite it again, or leave it: nothing else suffers."
        )
    try:
        channel = await guild.fetch_channel(channel_id)
    except (discord.NotFound, discord.Forbidden):
        return Check(False, what, "the channel of its rounds is gone or hidden", "Have a moderator run `/setup` again.")
    have = channel.permissions_for(me)
    missing = [name.replace("_", " ") for name, needed in PERMISSIONS if needed and not getattr(have, name)]
    if missing:
        remedy = "Give the bot's role these permissions in that channel, then run `/setup` again."
        return Check(False, what, f"not allowed in #{channel.name}: {', '.join(missing)}", remedy)
    return Check(True, what, f"all that is needed is allowed in #{channel.name}")


LOOKS = (
    Look("Discord", account, "Check FLOCK_DISCORD_API_BASE and the network.", ("discord_token",)),
    Look("servers", servers, "First mend what is wrong with Discord or the database.", ("discord_token",)),
)
