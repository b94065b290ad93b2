"""Battle rounds of a live bot: videos are made by the test's own process, and the ledger takes what it is told to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy import update

from bot.demo.discord.people import wait_for
from bot.domain.battles import BallotSize, Battle, Contender
from bot.store import rounds
from bot.store.battles import rounds as battles
from bot.workflows.battle_parts import LeftOutError
from bot.workflows.battles.registration import GateRegistrar
from generation.feedback.registration import Rule
from generation.jobs import RenderResult
from migrations.database import now_ms
from migrations.schema import rounds as round_rows
from migrations.states.battles import RoundKind
from migrations.states.community import RoundStatus
from migrations.states.learning import CandidateState
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.battle_rounds import RULE, a_plan, an_mp4
from tests.builders.live_bot import Town
from tests.builders.releases import a_candidate

REVISION = "r"  # of the base model


def stand_in_for_workers(
    town: Town, *, lost: str = "", revision: str = REVISION, motions: tuple[float, float] = (0.2, 0.2)
) -> None:
    """Have videos made by this process, in which each names its adapter. Those of the prompt `lost` cannot be made.

    `motions` are those on the cards of videos with an adapter, and of those without.
    """

    async def render(_pair_id: int, side: Any, _attempt: int) -> RenderResult:
        job = side["job"]
        if job["prompt"] == lost:
            raise LeftOutError("The workers could not render a video.")
        release = job.get("release")
        model = str(job["model_id"] if release is None else release["adapter_sha256"][:12]).encode()
        data = an_mp4(b"pictures" * len(model), b"made by " + model)
        path = Path(town.data_dir) / "videos" / f"{job['video_id']}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return RenderResult(
            video_path=str(path), poster_path="", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data),
            width=64, height=64, fps=8.0, frames=9, seconds=1.0, model_id=job["model_id"], model_revision=revision,
            machine="here", release=release, provenance={"motion": motions[0 if release else 1]},
        )  # fmt: skip

    town.app.learning.battles.pairs._render = render  # type: ignore[method-assign]  # there is no worker in this process


def use_rule(town: Town, rule: Rule = RULE) -> None:
    """Let battle rounds be registered with this rule, and every member's votes count."""
    battles_ = town.app.learning.battles
    battles_.workflow._register_plan = GateRegistrar("tiny", town.app._pepper, rule)
    battles_.opening._size = BallotSize.of_rule(rule)
    battles_.opening._eligibility = a_plan().eligibility


async def a_ready_candidate(town: Town, number: float = 0.5, **values: Any) -> tuple[int, str]:
    """A candidate whose adapter is here, and the adapter's hash; another `number` makes another adapter."""
    _, sha256 = write_adapter(town.data_dir, adapter_bytes(number=number))
    made = await a_candidate(
        town.database, CandidateState.READY, adapter_sha256=sha256, base_revision=REVISION, **values
    )
    return made, sha256


async def begin_battle(town: Town, *, rule: Rule = RULE, **changes: Any) -> Battle:
    """A battle round of the town with a candidate of its own, as its command begins it."""
    use_rule(town, rule)
    candidate_id, sha256 = await a_ready_candidate(town)
    about = {
        "candidate_id": candidate_id, "candidate": Contender("tiny", sha256), "size": BallotSize.of_rule(rule)
    }  # fmt: skip
    async with town.database.begin() as connection:
        before = (round_rows.c.kind == RoundKind.BATTLE, round_rows.c.status == RoundStatus.CLOSED)
        await connection.execute(  # those of earlier tests, as the relayer would have noted by now
            update(round_rows).where(*before, round_rows.c.chain_id.is_(None)).values(chain_id=2000 + round_rows.c.id)
        )
        return await town.app.learning.battles.workflow.begin(
            connection, a_plan(**{**about, **changes}), guild_id=town.guild, channel_id=town.channel, opened_by=1
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
    await town.app.learning.battles.workflow.wake(round_id)
    return await until_battle(town, round_id, "the verdict", lambda battle: battle.round.result_message_id is not None)
