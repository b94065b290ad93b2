"""A scenario: a stack of real processes whose services can be broken on demand, with a round in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.messages import Payload
from bot.demo.discord.people import Answer, Community, Message, NoAnswerError, Person, wait_for
from bot.demo.discord.world import MODERATOR
from bot.demo.stack import Stack
from bot.demo.supervisor import Supervisor
from bot.domain.videos import Video
from bot.store import rounds, videos
from contracts.audit.audit import audit
from migrations.database import open_database
from migrations.schema import videos as table
from migrations.schema import votes

# Few frames and steps of the real pipeline: what is tried here is what goes wrong around it.
QUICK_MODEL = """
[models.tiny]
width = 96
height = 96
frames = 9
fps = 8
steps = 2
"""
SETTLED_S = 90.0


@dataclass
class Scenario:
    """The stack, its people, its database, and the switches of its services."""

    stack: Stack
    community: Community
    database: AsyncEngine
    number: int = field(default=0)  # of the round

    def __post_init__(self) -> None:
        self.ana, self.ben = self.community.person("ana"), self.community.person("ben")
        self.mira: Person = self.community.person(MODERATOR)

    async def switch(self, service: str, **request: object) -> Payload:
        """Ask discord, host or chain for a fault; returns the faults that are asked for there."""
        url = {"discord": self.stack.discord_url, "host": self.stack.host_url, "chain": self.stack.rpc_url}[service]
        headers = {"Authorization": f"Bearer {self.stack.keys.control_token}"}
        method = "POST" if request else "GET"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{url}/control/faults", json=request or None, raise_for_status=True) as answer,
        ):
            faults: Payload = await answer.json()
            return faults

    async def clear_faults(self) -> None:
        """Switch off every fault of every service."""
        for service in ("discord", "host", "chain"):
            await self.switch(service, off=True)

    async def wait_for_faults(self, service: str) -> None:
        """Wait until every fault of a service has struck as often as it was to."""

        async def spent() -> bool | None:
            faults = (await self.switch(service))["faults"]
            return True if all(rule["spent"] for rule in faults) else None

        await wait_for(f"the faults of {service} to strike", spent, seconds=SETTLED_S)

    async def restart_bot(self, **settings: str) -> None:
        """Start the bot again with other settings, which is much quicker than another stack; waits until it answers."""
        self.stack.settings |= settings
        await self.stack.supervisor.forget("bot")
        await self.stack.start_bot()
        await self.wait_for_bot()

    # ------------------------------------------------------------------ the round

    async def wait_for_bot(self) -> None:
        """Wait until the bot answers."""

        async def ready() -> bool | None:
            world = await self.community.world()
            return True if world["connected"] and "prompt" in {c["name"] for c in world["commands"]} else None

        await wait_for("the bot to come online", ready, seconds=90)

    async def open_round(self, duration: str = "1h") -> int:
        """Wait until the bot answers, and open a round; returns its id."""
        await self.wait_for_bot()
        await self.mira.command("setup", channel=await self.community.channel("videos"))
        opened = await self.mira.command("round open", task="storms", duration=duration)
        assert "is open" in opened.text, opened.text
        guild_id = int((await self.community.world())["guild"]["id"])
        current = await rounds.open_in(self.database, guild_id)
        assert current is not None
        self.number = current.id
        return current.id

    async def close_round(self) -> None:
        """Close the round, and wait for its result on the ledger."""
        assert "closed" in (await self.insist(self.mira, "round close")).text
        await self.wait_for_result()

    async def wait_for_result(self) -> None:
        """Wait for the result of the closed round on the ledger."""

        async def final() -> bool | None:
            round_ = await rounds.get(self.database, self.number)
            return True if round_.status == "closed" and round_.finalized_tx else None

        await wait_for("the result on the ledger", final, seconds=SETTLED_S)

    async def insist(self, person: Person, command: str, *, in_channel: str = "general", **options: object) -> Answer:
        """Type a command, and again while the bot does not answer, as a person does."""
        for _ in range(10):
            try:
                return await person.command(command, in_channel=in_channel, **options)
            except NoAnswerError:
                continue
        raise NoAnswerError(f"/{command} was never answered.")

    async def wait_for_video(self, video_id: str) -> Video:
        """Return the video, once it is posted. Fails when it ends in another way."""

        async def posted() -> Video | None:
            video = await videos.get_or_none(self.database, video_id)
            assert video is None or video.status not in {"failed", "cancelled"}, video
            return video if video is not None and video.status == "published" else None

        return await wait_for("the video to be posted", posted, seconds=SETTLED_S)

    async def post_card(self, prompt: str) -> Message:
        """Ask for a video as ana; returns its card, once it is posted."""
        answer = await self.insist(self.ana, "prompt", text=prompt)
        return await self.card_of(await self.wait_for_video(answer.interaction_id))

    async def card_of(self, video: Video) -> Message:
        """Return the card of a video, as it is now."""
        return await self.ben.message(str(video.thread_id), str(video.message_id))

    async def video_on(self, card: Message) -> Video:
        """Return the video that a card shows."""
        async with self.database.connect() as connection:
            row = (await connection.execute(select(table).where(table.c.message_id == int(card.id)))).one()
        return Video.from_row(row)

    async def cards(self, thread_id: str) -> list[str]:
        """Return the texts of the cards in a thread, as a member sees them."""
        messages = await self.ben.messages(thread_id)
        return [message.text for message in messages if any(b.label == "Report" for b in message.buttons)]

    async def choices(self, video_id: str) -> dict[str, int]:
        """Return the choices in the database on a video, by members' names."""
        names = {member["id"]: member["name"] for member in (await self.community.world())["members"]}
        async with self.database.connect() as connection:
            rows = await connection.execute(
                select(votes.c.member_id, votes.c.choice).where(votes.c.video_id == video_id)
            )
            return {names[str(row.member_id)]: int(row.choice) for row in rows}

    async def wait_for_choices(self, video_id: str, **expected: int) -> None:
        """Wait until members' choices are as expected."""

        async def so() -> bool | None:
            choices = await self.choices(video_id)
            return True if {name: choices.get(name, 0) for name in expected} == expected else None

        await wait_for(f"the choices {expected}", so, seconds=SETTLED_S)

    async def check_audit(self) -> None:
        """Audit the ledger by the chain alone, and compare the database with it."""
        assert self.stack.deployment is not None
        report = await audit(
            self.stack.rpc_url,
            self.stack.deployment.address,
            database=self.database,
            pepper=self.stack.keys.pepper.encode(),
        )
        assert report.ok, report.problems

    def log(self, name: str) -> str:
        """Return the log of a process."""
        return self.stack.supervisor.log_path(name).read_text(errors="replace")


@asynccontextmanager
async def open_scenario(
    folder: Path, database_url: str | None = None, kind: type[Stack] = Stack, **settings: str
) -> AsyncIterator[Scenario]:
    """Start services, bot and worker, without any fault. On failure the logs are printed."""
    folder.mkdir(parents=True, exist_ok=True)
    models = folder / "models.toml"
    models.write_text(QUICK_MODEL)
    supervisor = Supervisor(folder)
    stack = kind(folder, supervisor, database_url, {"FLOCK_MODELS_FILE": str(models), **settings})
    try:
        await stack.open_services()
        await stack.open_bot_and_worker()
        database = open_database(stack.database_url)
        try:
            async with Community(stack.discord_url, stack.keys.control_token) as community:
                yield Scenario(stack, community, database)
        finally:
            await database.dispose()
    except BaseException:
        for log in sorted((folder / "logs").glob("*.log")):
            print(f"===== {log.name}\n{log.read_text(errors='replace')[-4000:]}")  # noqa: T201  # for who reads the failure
        raise
    finally:
        await supervisor.stop()
