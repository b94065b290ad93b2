"""A house of real processes whose services can be broken on demand, and a round in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.people import Answer, Community, Message, NoAnswerError, Person, wait_for
from bot.demo.discord.world import MODERATOR
from bot.demo.stack import House
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
width = 64
height = 64
frames = 9
fps = 8
steps = 2
"""
SETTLED_S = 90.0


@dataclass
class Trouble:
    """The house, its people, its database, and the switches of its services."""

    house: House
    community: Community
    database: AsyncEngine
    number: int = field(default=0)  # of the round

    def __post_init__(self) -> None:
        self.ana, self.ben = self.community.person("ana"), self.community.person("ben")
        self.mira: Person = self.community.person(MODERATOR)

    async def switch(self, service: str, **wanted: Any) -> dict[str, Any]:
        """Asks discord, host or chain for a fault; gives what is out of order there."""
        url = {"discord": self.house.discord_url, "host": self.house.host_url, "chain": self.house.rpc_url}[service]
        headers = {"Authorization": f"Bearer {self.house.keys.control_token}"}
        method = "POST" if wanted else "GET"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{url}/control/faults", json=wanted or None, raise_for_status=True) as answer,
        ):
            told: dict[str, Any] = await answer.json()
            return told

    async def put_in_order(self) -> None:
        for service in ("discord", "host", "chain"):
            await self.switch(service, off=True)

    async def struck(self, service: str) -> None:
        """Waits until every fault of a service has struck as often as it was to."""

        async def spent() -> bool | None:
            told = await self.switch(service)
            return True if all(rule["spent"] for rule in told["faults"]) else None

        await wait_for(f"the faults of {service} to strike", spent, seconds=SETTLED_S)

    # ------------------------------------------------------------------ the round

    async def online(self) -> None:
        """Waits until the bot answers."""

        async def ready() -> bool | None:
            world = await self.community.world()
            return True if world["connected"] and "prompt" in {c["name"] for c in world["commands"]} else None

        await wait_for("the bot to come online", ready, seconds=90)

    async def open_round(self, duration: str = "1h") -> int:
        """Until the bot answers, and then a round of its own; gives its id."""
        await self.online()
        await self.mira.command("setup", channel=await self.community.channel("videos"))
        opened = await self.mira.command("round open", task="storms", duration=duration)
        assert "is open" in opened.text, opened.text
        guild_id = int((await self.community.world())["guild"]["id"])
        current = await rounds.open_in(self.database, guild_id)
        assert current is not None
        self.number = current.id
        return current.id

    async def close_round(self) -> None:
        """Closes the round, and waits for its result on the chain."""
        assert "closed" in (await self.insist(self.mira, "round close")).text
        await self.decided()

    async def decided(self) -> None:
        """Waits for the result of the closed round on the chain."""

        async def final() -> bool | None:
            round_ = await rounds.get(self.database, self.number)
            return True if round_.status == "closed" and round_.finalized_tx else None

        await wait_for("the result on the chain", final, seconds=SETTLED_S)

    async def insist(self, who: Person, command: str, **options: Any) -> Answer:
        """A command, typed again while nobody answers: what a person does."""
        for _ in range(10):
            try:
                return await who.command(command, **options)
            except NoAnswerError:
                continue
        raise NoAnswerError(f"/{command} was never answered.")

    async def published(self, video_id: str) -> Video:
        """The video, once it is posted. Fails when it ends in another way."""

        async def posted() -> Video | None:
            video = await videos.get_or_none(self.database, video_id)
            assert video is None or video.status not in {"failed", "cancelled"}, video
            return video if video is not None and video.status == "published" else None

        return await wait_for("the video to be posted", posted, seconds=SETTLED_S)

    async def a_card(self, prompt: str) -> Message:
        """A video of ana's, posted without any trouble."""
        answer = await self.insist(self.ana, "prompt", text=prompt)
        return await self.card_of(await self.published(answer.interaction_id))

    async def card_of(self, video: Video) -> Message:
        return await self.ben.message(str(video.thread_id), str(video.message_id))

    async def on_card(self, card: Message) -> Video:
        """The video that a card shows."""
        async with self.database.connect() as connection:
            row = (await connection.execute(select(table).where(table.c.message_id == int(card.id)))).one()
        return Video.from_row(row)

    async def cards(self, thread_id: str) -> list[str]:
        """The prompts' cards in a thread, as a member counts them."""
        found = await self.ben.messages(thread_id)
        return [message.text for message in found if any(b.label == "Up" for b in message.buttons)]

    async def choices(self, video_id: str) -> dict[str, int]:
        """What stands in the database about a video, by members' names."""
        names = {member["id"]: member["name"] for member in (await self.community.world())["members"]}
        async with self.database.connect() as connection:
            found = await connection.execute(
                select(votes.c.member_id, votes.c.choice).where(votes.c.video_id == video_id)
            )
            return {names[str(row.member_id)]: int(row.choice) for row in found}

    async def chosen(self, video_id: str, **expected: int) -> None:
        """Waits until members' choices are as expected."""

        async def so() -> bool | None:
            found = await self.choices(video_id)
            return True if {name: found.get(name, 0) for name in expected} == expected else None

        await wait_for(f"the choices {expected}", so, seconds=SETTLED_S)

    async def audited(self) -> None:
        """The chain alone, and the database against it."""
        assert self.house.deployment is not None
        report = await audit(
            self.house.rpc_url,
            self.house.deployment.address,
            database=self.database,
            pepper=self.house.keys.pepper.encode(),
        )
        assert report.ok, report.problems

    def log(self, name: str) -> str:
        return self.house.supervisor.log_path(name).read_text(errors="replace")


@asynccontextmanager
async def open_trouble(
    folder: Path, database_url: str | None = None, kind: type[House] = House, **settings: str
) -> AsyncIterator[Trouble]:
    """Services, bot and worker, everything in order. On failure the logs are shown."""
    folder.mkdir(parents=True, exist_ok=True)
    models = folder / "models.toml"
    models.write_text(QUICK_MODEL)
    supervisor = Supervisor(folder)
    house = kind(folder, supervisor, database_url, {"FLOCK_MODELS_FILE": str(models), **settings})
    try:
        await house.open_services()
        await house.open_bot_and_worker()
        database = open_database(house.database_url)
        try:
            async with Community(house.discord_url, house.keys.control_token) as community:
                yield Trouble(house, community, database)
        finally:
            await database.dispose()
    except BaseException:
        for log in sorted((folder / "logs").glob("*.log")):
            print(f"===== {log.name}\n{log.read_text(errors='replace')[-4000:]}")  # noqa: T201  # for who reads the failure
        raise
    finally:
        await supervisor.stop()
