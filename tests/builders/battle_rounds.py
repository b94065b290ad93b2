"""Battle rounds for tests: a plan, and small mp4s of two models in which each names itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.people import wait_for
from bot.domain.battles import (
    BallotSize,
    Battle,
    BattlePlan,
    Contender,
    Eligibility,
    Verdict,
    VerdictState,
    plan_pairs,
    register,
)
from bot.store import rounds
from bot.store.battles import rounds as battles
from bot.workflows.battle_pair import LeftOutError
from generation.jobs import RenderResult
from migrations.database import now_ms
from migrations.schema import battle_pairs
from migrations.states.battles import PairState
from tests.builders.live_bot import Town

GUILD, SALT = 77, bytes(range(32))
CANDIDATE, LIVE = Contender("candidate", "c" * 64), Contender("tiny")
PROMPTS = ["a red fox", "a blue bird", "a tree"]
SIZE = BallotSize(battles=2, catches=1, at_close=1, catch_one_in=3)


def a_plan(*, battles_: int = 4, catches: int = 2, seconds: float = 3600, **changes: Any) -> BattlePlan:
    """A small plan; what is given by name is as given."""
    now = now_ms()
    values = {
        "candidate": CANDIDATE, "live": LIVE, "pairs": plan_pairs(PROMPTS, battles_, catches, "s"),
        "size": SIZE, "eligibility": Eligibility(), "opens_ms": now, "closes_ms": now + int(seconds * 1000),
    }  # fmt: skip
    return BattlePlan(**{**values, **changes})


async def an_open_battle(database: AsyncEngine, **changes: Any) -> Battle:
    """A round with all pairs ready, as its workflow opens it."""
    plan = a_plan(**changes)
    async with database.begin() as connection:
        battle = await battles.add(
            connection, plan, registration=register(plan, SALT), salt=SALT, guild_id=GUILD, channel_id=5, opened_by=1
        )
        await connection.execute(battle_pairs.update().values(state=PairState.READY))
    await battles.mark_open(database, battle.round.id)
    return await battles.get(database, battle.round.id)


def a_verdict(state: VerdictState = VerdictState.UNDECIDED, **changes: Any) -> Verdict:
    """A verdict of the gate; what is given by name is as given."""
    values = {
        "state": state, "reasons": ("Undecided after 3 voters; about 40 are needed if all vote like these.",),
        "voters": 3, "votes": 9, "held_out": 1, "waiting": 2, "evidence_milli": 1234, "evidence_needed": 40,
        "win_rate_permille": 611, "interval_permille": (402, 790), "equal_motion_permille": 580, "survives": 0,
        "survives_needed": 2, "needs_about": 40, "min_voters": 12,
    }  # fmt: skip
    return Verdict(**{**values, **changes})


def an_mp4(pictures: bytes, words: bytes) -> bytes:
    """A file with the words of its maker, as a worker writes them."""
    return _box(b"ftyp", b"isom") + _box(b"moov", _box(b"udta", words)) + _box(b"mdat", pictures)


def _box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4) + kind + body


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

    return await wait_for(what, look, seconds=120, every=0.1)


async def until_open(town: Town, round_id: int) -> Battle:
    """The battle round, registered on the ledger and open."""
    await put_on_ledger(town, round_id)
    return await until_battle(town, round_id, "the battle round to open", lambda battle: battle.round.status == "open")


async def end_battle(town: Town, round_id: int) -> Battle:
    """The battle round at its deadline, with its verdict posted."""
    await rounds.change(town.database, round_id, closes_at_ms=now_ms())
    await town.app.battles.workflow.wake(round_id)
    return await until_battle(town, round_id, "the verdict", lambda battle: battle.round.result_message_id is not None)
