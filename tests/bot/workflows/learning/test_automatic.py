"""The loop by itself: battles open and releases are made where settings say so; what cannot be is told once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from bot.demo.discord import people
from bot.demo.discord.people import wait_for
from bot.domain.battles import Battle
from bot.domain.releases import Candidate
from bot.store.battles import rounds as battles
from bot.store.learning import candidates, releases
from bot.workflows import automatic_training
from bot.workflows.learning import automatic, release_post
from generation.jobs import BOT_QUEUE
from migrations.database import now_ms
from migrations.schema import candidates as table
from migrations.schema import votes
from migrations.states.learning import CandidateState
from tests.bot.workflows.battles.test_whole_round import post_prompts, until_verdict, vote
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.battle_town import a_ready_candidate, begin_battle, stand_in_for_workers, until_open, use_rule
from tests.builders.live_bot import Town, open_town
from tests.builders.releases import a_candidate, a_release

PATIENT_S = 300.0  # of who presses and types: no test here is about time
VOTERS = 11  # as many as release where all agree, and two more


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "ANSWER_S", PATIENT_S)
    monkeypatch.setattr(automatic, "AGAIN_S", 0.2)
    monkeypatch.setattr(automatic, "POST_AGAIN_S", 0.2)
    monkeypatch.setattr(release_post, "LONGEST_WAIT_S", 0)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A bot that does everything by itself, in small rounds."""
    wanted = {"battle_after_training": True, "release_after_battle": True, "battle_pairs": 4, "battle_duration": "1h"}
    async with open_town(tmp_path, answer_s=PATIENT_S, **wanted) as town:
        yield town


async def until_state(town: Town, candidate_id: int, state: CandidateState) -> Candidate:
    async def look() -> Candidate | None:
        async with town.database.connect() as connection:
            candidate = await candidates.get(connection, candidate_id)
        return candidate if candidate.state == state else None

    return await wait_for(f"candidate {candidate_id} to be {state}", look, seconds=300, every=0.2)


async def until_told(town: Town, words: str) -> str:
    """The text of the one message with these words."""

    async def look() -> str | None:
        there = [message.text for message in await town.shown(town.channel) if words in message.text]
        return there[0] if there else None

    return await wait_for(f"a message with {words!r}", look, seconds=300, every=0.2)


async def count_told(town: Town, words: str) -> int:
    return sum(words in message.text for message in await town.shown(town.channel))


async def won_battle(town: Town) -> int:
    """The id of a candidate that members preferred."""
    stand_in_for_workers(town)
    battle = await until_open(town, (await begin_battle(town)).round.id)
    for member in range(VOTERS):
        await vote(town, battle, 100 + member, for_candidate=True)
    await until_verdict(town, battle)
    async with town.database.connect() as connection:
        found = await connection.scalar(select(table.c.id).where(table.c.battle_round_id == battle.round.id))
    assert found is not None
    return int(found)


async def test_a_winner_is_released_by_itself_after_a_pause_and_a_restart(town: Town) -> None:
    """A pause stops it, a restart forgets nothing, and it is announced like any other release."""
    await town.mira.command("admin model pause")
    candidate_id = await won_battle(town)
    await until_state(town, candidate_id, CandidateState.WON)
    await town.restart()
    async with town.database.connect() as connection:
        assert await releases.live_or_none(connection, "tiny") is None
    await town.mira.command("admin model resume")
    await until_state(town, candidate_id, CandidateState.RELEASED)
    async with town.database.connect() as connection:
        live = await releases.live_or_none(connection, "tiny")
    assert live is not None
    assert (live.number, live.candidate_id) == (1, candidate_id)
    await until_told(town, "Your votes moved this: release 1 is live")


async def test_a_winner_waits_for_a_moderator_where_settings_say_nothing(tmp_path: Path) -> None:
    """The twin of the one above: only the command releases it."""
    async with open_town(tmp_path, answer_s=PATIENT_S) as town:
        candidate_id = await won_battle(town)
        await until_state(town, candidate_id, CandidateState.WON)
        assert not [name for name in await town.workflows() if name.startswith("release-of-candidate")]
        made = await town.mira.command("admin model release", candidate=candidate_id)
        assert "Release 1 is live" in made.text


async def test_a_winner_that_cannot_be_released_is_told_once(town: Town) -> None:
    """Another release came in between. A restart tells it no second time."""
    _, sha256 = write_adapter(town.data_dir, adapter_bytes())
    candidate_id = await a_candidate(town.database, adapter_sha256=sha256)
    await a_release(town.database)
    argument = {"candidate_id": candidate_id, "guild_id": town.guild}
    async with town.database.begin() as connection:
        name = f"release-of-candidate-{candidate_id}"
        await town.app.engine.submit(connection, automatic.RELEASE_WORKFLOW, name, argument, queue=BOT_QUEUE)
    told = await until_told(town, f"No release of candidate {candidate_id}")
    assert "won against a release that isn't live any more" in told
    await until_state(town, candidate_id, CandidateState.WON)
    await town.restart()
    assert await count_told(town, f"No release of candidate {candidate_id}") == 1


async def active_members(town: Town, count: int, *, at_ms: int | None = None) -> None:
    """So many members vote on each of the three posted videos."""
    async with town.database.begin() as connection:
        for member_id in range(700, 700 + count):
            for video_id in ("1", "2", "3"):
                values = {"video_id": video_id, "member_id": member_id, "choice": 1, "source": "button"}
                await connection.execute(insert(votes).values(**values, cast_at_ms=at_ms or now_ms()))


async def begin_opening(town: Town) -> int:
    """A candidate that was trained just now, as its training's workflow hands it on."""
    use_rule(town)
    candidate_id, _ = await a_ready_candidate(town)
    workflow = town.app.learning.trainings.workflow
    async with town.database.begin() as connection:
        await connection.execute(update(table).where(table.c.id == candidate_id).values(state=CandidateState.CHECKING))
    assert await workflow._ready(candidate_id, town.guild) == automatic.ITS_BATTLE
    assert await workflow._ready(candidate_id, town.guild) == automatic.ITS_BATTLE  # every step may run twice
    return candidate_id


async def latest_battle(town: Town) -> Battle | None:
    return await battles.latest_or_none(town.database, town.guild)


async def test_a_battle_opens_by_itself_after_a_pause_and_a_restart(town: Town) -> None:
    """As long as the settings say, about so many pairs; once."""
    stand_in_for_workers(town)
    await post_prompts(town)
    await active_members(town, 9)
    await town.mira.command("admin model pause")
    candidate_id = await begin_opening(town)
    await town.restart()
    stand_in_for_workers(town)
    use_rule(town)
    assert await latest_battle(town) is None
    await town.mira.command("admin model resume")
    await until_state(town, candidate_id, CandidateState.BATTLING)
    battle = await latest_battle(town)
    assert battle is not None
    assert battle.round.closes_at_ms - battle.round.opens_at_ms == 3_600_000
    assert sum(not pair.is_catch for pair in await battles.pairs_of(town.database, battle.round.id)) == 4
    assert await count_told(town, "begins by itself") == 0


async def test_too_few_active_voters_open_no_battle_and_are_told_once(town: Town) -> None:
    """Votes of long ago do not count. The next training goes on without this candidate; a moderator may open it."""
    await post_prompts(town)
    await active_members(town, 8)
    candidate_id = await begin_opening(town)
    told = await until_told(town, f"No battle of candidate {candidate_id} begins by itself")
    assert "Too few active voters to release on evidence: 8 members have voted within 30 days and 3 times" in told
    assert "and 9 are needed even if all agree" in told
    await town.restart()
    assert await count_told(town, f"No battle of candidate {candidate_id}") == 1
    assert await latest_battle(town) is None
    async with town.database.connect() as connection:
        candidate = await candidates.get(connection, candidate_id)
    assert candidate.state == CandidateState.READY
    assert not automatic_training._is_on_its_way(candidate)
    use_rule(town)
    opened = await town.mira.command("admin model battle", candidate=candidate_id, duration="1h", pairs=4)
    assert "is registered" in opened.text
