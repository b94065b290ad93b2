"""The whole bot and the embedded Discord in this process, with short patience: for what would take real time outside.

There is no worker, no video host and no chain; what waits for these waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord
import pytest
from pydantic import SecretStr
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import app as app_module
from bot import retry
from bot.app import App
from bot.cards import layout
from bot.client import point_at, run_client
from bot.cogs import rounds as rounds_cog
from bot.demo.discord import limits, world
from bot.demo.discord.people import Answer, Community, Message, Person, wait_for
from bot.demo.discord.server import DiscordConfig, EmbeddedDiscord
from bot.demo.discord.world import MODERATOR
from bot.domain.policy import Quota
from bot.domain.rounds import Round
from bot.domain.videos import Video
from bot.permissions import PERMISSIONS
from bot.posts import rounds as round_posts
from bot.posts import vote_counts
from bot.settings import Settings
from bot.store import rounds, videos
from bot.workflows import closing, recovery
from bot.workflows import round as round_workflow
from contracts.signers.keystore import open_key_file
from migrations.database import open_database, upgrade_database
from migrations.schema import outbox

TOKEN, CONTROL_TOKEN = "the-bot's-token", "the-people's-token"
ALWAYS = {"rate": 1.0}


@dataclass
class Town:
    """The bot, its database, its Discord with two guilds, and the people of the first one."""

    app: App
    server: EmbeddedDiscord
    community: Community
    database: AsyncEngine
    channel: int = 0  # of rounds
    guild: int = 0
    other_guild: int = 0
    other_channel: int = 0
    data_dir: Path = Path()

    @property
    def mira(self) -> Person:
        return self.community.person(MODERATOR)

    @property
    def backend(self) -> Any:
        assert self.server.world is not None
        return self.server.world.backend

    async def open(self, task: str = "storms") -> Answer:
        return await self.mira.command("round open", task=task, duration="1h")

    async def close(self) -> Answer:
        return await self.mira.command("round close")

    async def fault(self, **wanted: Any) -> None:
        await self.community.faults(**wanted)

    async def in_order(self) -> None:
        """No faults, no denials, no open round, and rounds in the channel of the beginning."""
        await self.community.faults(off=True)
        await self.community.fault("deny", channel_id=str(self.channel), permissions=[])
        await rounds.set_up_guild(self.database, self.guild, self.channel, 1)
        if (current := await rounds.open_in(self.database, self.guild)) is not None:
            await self.app.recovery.close_now(current)
        async with self.database.begin() as connection:  # no workflow waits for a chain that is not there
            await connection.execute(update(outbox).where(outbox.c.kind == "close").values(state="rejected"))

    async def latest(self) -> Round:
        found = await rounds.latest_or_none(self.database, self.guild)
        assert found is not None
        return found

    async def until(self, what: str, is_so: Any, round_id: int | None = None) -> Round:
        """The round (the latest one), once it is so."""

        async def look() -> Round | None:
            round_ = await (self.latest() if round_id is None else rounds.get(self.database, round_id))
            return round_ if is_so(round_) else None

        return await wait_for(what, look, seconds=60, every=0.05)

    async def shown(self, channel_id: int) -> list[Message]:
        """What a member sees in a channel."""
        return await self.community.person("ben").messages(str(channel_id))

    async def workflows(self) -> dict[str, str]:
        """How the engine's workflows are, by their ids."""
        async with self.database.connect() as connection:
            rows = await connection.execute(text("SELECT workflow_uuid, status FROM workflow_status"))
            return {str(row[0]): str(row[1]) for row in rows}

    async def mark(self, workflow_id: str, status: str) -> None:
        """Leaves a workflow as an earlier version, or an operator, did."""
        async with self.database.begin() as connection:
            query = text("UPDATE workflow_status SET status = :status WHERE workflow_uuid = :id")
            changed = await connection.execute(query, {"status": status, "id": workflow_id})
            assert changed.rowcount == 1


@asynccontextmanager
async def open_town(folder: Path) -> AsyncIterator[Town]:
    """One for many tests: what they break they put in order."""
    server = EmbeddedDiscord(DiscordConfig(folder / "discord", TOKEN, CONTROL_TOKEN))
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (retry, "FIRST_S", 0.02),
            (retry, "MOST_S", 0.2),
            (retry, "LIMIT_S", 0.3),
            (round_posts, "OPENING_S", 0.5),
            (round_posts, "RESULT_S", 0.3),
            (world, "SAVE_S", 3600.0),  # nobody opens it again
            (round_workflow, "LEDGER_POLL_S", 0.2),
            (closing, "PACE_S", 0.0),
            (closing, "AGAIN_S", 0.2),
            (closing, "RESULT_POLL_S", 0.1),
            (vote_counts, "GATHER_S", 0.3),
            (vote_counts, "CARD_S", 0.6),
            (vote_counts, "THREAD_S", 0.05),
            (vote_counts, "AGAIN_S", 0.2),
            (vote_counts, "LONGEST_AGAIN_S", 1.0),
            (vote_counts, "LOOK_S", 0.5),
            (app_module, "COUNT_S", 0.1),
            (recovery, "FIRST_S", 0.2),
            (recovery, "TRY_S", 0.1),
            (app_module, "RECOVERY_S", 0.3),
            (rounds_cog, "ANSWER_S", 5.0),
            (limits, "_RULES", []),
            (limits, "_DEFAULT", (100_000, 1.0)),
            (limits, "GLOBAL", (100_000, 1.0)),
        ):
            patch.setattr(module, name, value)
        patch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)
        patch.setattr(
            discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY
        )
        await server.start()
        try:
            async with _bot(folder, server) as (app, database), _people(server) as community:
                town = Town(app, server, community, database, data_dir=folder / "data")
                await _settle(town)
                yield town
        finally:
            await server.close()


def _people(server: EmbeddedDiscord) -> Community:
    return Community(f"http://127.0.0.1:{server.port}", CONTROL_TOKEN)


@asynccontextmanager
async def _bot(folder: Path, server: EmbeddedDiscord) -> AsyncIterator[tuple[App, AsyncEngine]]:
    assert server.world is not None
    backend = server.world.backend
    other = backend.create_guild("Elsewhere")
    for role in other.roles.values():
        if role.managed:
            role.permissions = PERMISSIONS.value
    backend.create_channel(other.id, "elsewhere")
    url = f"sqlite:///{folder / 'flock.db'}"
    await upgrade_database(url)
    key = folder / "dev.key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    settings = Settings(
        _env_file=None,
        database_url=url,
        data_dir=folder / "data",
        discord_token=SecretStr(TOKEN),
        discord_api_base=f"http://127.0.0.1:{server.port}/api/v10",
        discord_gateway=f"ws://127.0.0.1:{server.port}/gateway",
        livepeer_api_key=SecretStr("none"),
        livepeer_api_base="http://127.0.0.1:9/api",
        rpc_url="http://127.0.0.1:9",
        ledger_address="0x" + "11" * 20,
        keystore=key,
        voter_pepper=SecretStr("a pepper of the tests, 32 bytes long"),
        prompts_waiting=10,
    )
    database = open_database(url)
    point_at(settings)
    app = App(settings, database, open_key_file(key))
    stop = asyncio.Event()
    running = asyncio.create_task(run_client(app.client, TOKEN, stop))
    try:
        yield app, database
    finally:
        stop.set()
        await running
        await app.close()
        await database.dispose()


async def _settle(town: Town) -> None:
    async def online() -> bool | None:
        told = await town.community.world()
        return True if told["connected"] and "prompt" in {c["name"] for c in told["commands"]} else None

    await wait_for("the bot to come online", online, seconds=60)
    await town.app.client.wait_until_ready()
    town.guild = int((await town.community.world())["guild"]["id"])
    town.channel = int(await town.community.channel("videos"))
    town.other_guild = next(id_ for id_ in town.backend.guilds if id_ != town.guild)
    town.other_channel = next(iter(town.backend.guilds[town.other_guild].channel_ids))
    await rounds.set_up_guild(town.database, town.guild, town.channel, 1)


async def begin_elsewhere(town: Town) -> int:
    """A round of the other guild, as its moderators would open it; gives its id."""
    async with town.database.begin() as connection:
        round_ = await rounds.open_round(
            connection, guild_id=town.other_guild, channel_id=town.other_channel, task="elsewhere", opened_by=1,
            seconds=3600, grace_s=60,
        )  # fmt: skip
        await town.app.rounds.begin(connection, round_.id)
    return round_.id


async def post_video(town: Town, round_: Round, prompt: str, *, member: str = "ana", data: bytes = b"an mp4") -> Video:
    """A video of a member, as its workflow leaves it: its file here, its card in the thread, its progress message."""
    members = {each["name"]: int(each["id"]) for each in (await town.community.world())["members"]}
    video_id = str(next(_video_ids))
    path = town.data_dir / "videos" / f"{video_id}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    async with town.database.begin() as connection:
        await videos.add(
            connection, video_id=video_id, guild_id=round_.guild_id, round_id=round_.id, member_id=members[member],
            member_name=member, prompt=prompt, model_id="tiny", quota=Quota(prompts_a_round=1000, waiting=1000),
        )  # fmt: skip
    channel = await town.app.client.channel(town.channel)
    progress = await channel.send(view=layout.note("⏳"))
    await videos.change(
        town.database, video_id, status="posting", video_path=str(path), sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data), playback_id=None, progress_channel_id=channel.id, progress_message_id=progress.id,
    )  # fmt: skip
    posts = town.app.video_posts
    card = await posts.post(await videos.get(town.database, video_id), again=False, until_hosted=_never_hosted)
    assert await videos.publish(town.database, video_id, thread_id=card.thread_id, message_id=card.message_id)
    await town.app.progress.finish(video_id)
    return await videos.get(town.database, video_id)


async def _never_hosted() -> Video:
    raise AssertionError("The file fits, so nobody waits for the host.")


_video_ids = itertools.count(1 << 60)
