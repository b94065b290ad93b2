"""Battle rounds of a live bot: videos are made by the test's own process, and the ledger takes what it is told to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bot.demo.discord.people import wait_for
from bot.domain.battles import Battle
from bot.store import rounds
from bot.store.battles import rounds as battles
from bot.workflows.battle_pair import LeftOutError
from generation.jobs import RenderResult
from migrations.database import now_ms
from tests.builders.battle_rounds import a_plan, an_mp4
from tests.builders.live_bot import Town


def stand_in_for_workers(town: Town, *, lost: str = "") -> None:
    """Have videos made by this process, in which each names its model. Those of the prompt `lost` cannot be made."""

    async def render(_pair_id: int, side: Any, _attempt: int) -> RenderResult:
        job = side["job"]
        if job["prompt"] == lost:
            raise LeftOutError("The workers could not render a video.")
        model = str(job["model_id"]).encode()
        data = an_mp4(b"pictures" * len(model), b"made by " + model)
        path = Path(town.data_dir) / "videos" / f"{job['video_id']}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return RenderResult(
            video_path=str(path), poster_path="", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data),
            width=64, height=64, fps=8.0, frames=9, seconds=1.0, model_id=job["model_id"], model_revision="r",
            machine="here",
        )  # fmt: skip

    town.app.battles.pairs._render = render  # type: ignore[method-assign]  # there is no worker in this process


async def begin_battle(town: Town, **changes: Any) -> Battle:
    """A battle round of the town, as its command begins it."""
    async with town.database.begin() as connection:
        return await town.app.battles.workflow.begin(
            connection, a_plan(**changes), guild_id=town.guild, channel_id=town.channel, opened_by=1
        )


async def put_on_ledger(town: Town, round_id: int) -> None:
    """Let the registration stand on the ledger, as the relayer notes it."""
    await rounds.change(town.database, round_id, chain_id=1000 + round_id)


async def until_battle(town: Town, round_id: int, what: str, is_so: Any) -> Battle:
    """The battle round, once it is so."""

    async def look() -> Battle | None:
        battle = await battles.get(town.database, round_id)
        return battle if is_so(battle) else None

    return await wait_for(what, look, seconds=900, every=0.2)


async def until_open(town: Town, round_id: int) -> Battle:
    """The battle round, registered on the ledger and open."""
    await put_on_ledger(town, round_id)
    return await until_battle(town, round_id, "the battle round to open", lambda battle: battle.round.status == "open")


async def end_battle(town: Town, round_id: int) -> Battle:
    """The battle round at its deadline, with its verdict posted."""
    await rounds.change(town.database, round_id, closes_at_ms=now_ms())
    await town.app.battles.workflow.wake(round_id)
    return await until_battle(town, round_id, "the verdict", lambda battle: battle.round.result_message_id is not None)
