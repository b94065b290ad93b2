"""What an export reads from the database, and what it passes over."""

from __future__ import annotations

import pytest
from sqlalchemy import event, insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import OperatorError
from bot.store import feedback
from bot.store.learning import choices
from bot.store.learning.rows import ExportRows, closed_rounds, export_rows, only_guild
from contracts.outbox.entries import voter_id
from generation.feedback.dataset.rows import Consent, Exclusion
from migrations.database import now_ms
from migrations.schema import outbox, reviews, rounds, videos, votes
from migrations.states.community import TrainingChoice
from tests.bot.store.test_vote_writer import GUILD, PEPPER, add_round, add_video

DAY_MS = 24 * 3_600_000


async def add_vote(database: AsyncEngine, video_id: str, member_id: int, choice: int = 1) -> None:
    async with database.begin() as connection:
        await connection.execute(
            insert(votes).values(video_id=video_id, member_id=member_id, choice=choice, source="button", cast_at_ms=1)
        )


async def add_entry(database: AsyncEngine, video_id: str, member_id: int, state: str) -> None:
    async with database.begin() as connection:
        await connection.execute(
            insert(outbox).values(
                kind="vote", round_id=1, video_id=video_id, voter_id=voter_id(PEPPER, GUILD, member_id), choice=1,
                payload={}, state=state, created_at_ms=1,
            )
        )  # fmt: skip


async def read(database: AsyncEngine, **which: object) -> ExportRows:
    return await export_rows(database, GUILD, await closed_rounds(database, GUILD, **which), pepper=PEPPER)  # type: ignore[arg-type]  # a test's words


@pytest.fixture
async def town(database: AsyncEngine) -> AsyncEngine:
    """A closed round with two videos, and an open one with a video; everybody votes everywhere."""
    await add_round(database, 1, closes_in_s=-1, status="closed")
    await add_round(database, 2)
    for video_id, round_id in (("10", 1), ("11", 1), ("20", 2)):
        await add_video(database, video_id, round_id)
        await add_vote(database, video_id, 6)
        await add_vote(database, video_id, 7, 2)
        await add_vote(database, video_id, 8, 0)
    return database


async def test_a_closed_round_is_read_and_an_open_one_is_not(town: AsyncEngine) -> None:
    """Videos and standing votes, by the ledger's keys; a withdrawn vote is none, and nobody has been asked yet."""
    found = (await read(town)).community
    assert [each.number for each in found.rounds] == [1]
    assert {video.key for video in found.videos} == {f"{10:064x}", f"{11:064x}"}
    assert {(vote.voter, vote.choice) for vote in found.votes} == {("6", "up"), ("7", "down")}
    assert len(found.votes) == 4
    assert found.consents == {}
    [video] = [each for each in found.videos if each.key == f"{10:064x}"]
    assert (video.prompt, video.seed, video.author, video.exclusion) == ("prompt 10", 1, "5", None)


async def test_what_is_no_video_of_the_round_is_passed_over_or_marked(town: AsyncEngine) -> None:
    """One that failed is passed over; one that was removed, and one that a review rejected, are marked."""
    for video_id, status in (("12", "failed"), ("13", "removed"), ("14", "failed")):
        await add_video(town, video_id, 1, status=status)
    async with town.begin() as connection:
        for video_id, state in (("14", "rejected"), ("10", "approved")):
            await connection.execute(
                insert(reviews).values(
                    kind="video", video_id=video_id, guild_id=GUILD, round_id=1, member_id=5, member_name="m",
                    prompt="p", finding="f", state=state, created_at_ms=1,
                )
            )  # fmt: skip
    marks = {video.key: video.exclusion for video in (await read(town)).community.videos}
    assert {f"{key:064x}": marks.get(f"{key:064x}", "none") for key in range(10, 15)} == {
        f"{10:064x}": None,
        f"{11:064x}": None,
        f"{12:064x}": "none",
        f"{13:064x}": Exclusion.REMOVED,
        f"{14:064x}": Exclusion.REJECTED,
    }


async def test_a_vote_that_the_ledger_rejected_is_marked(town: AsyncEngine) -> None:
    """Where it is the latest word about it: one that was cast anew and taken is not."""
    await add_entry(town, "10", 6, "rejected")
    await add_entry(town, "11", 6, "rejected")
    await add_entry(town, "11", 6, "final")
    await add_entry(town, "10", 7, "final")
    marked = {(vote.video_key, vote.voter) for vote in (await read(town)).community.votes if vote.rejected_by_ledger}
    assert marked == {(f"{10:064x}", "6")}


async def test_consents_are_those_of_the_server(town: AsyncEngine) -> None:
    """Read, opted out, opted in; another server's word counts nothing here."""
    await choices.record_notice(town, GUILD, 5)
    await choices.choose(town, GUILD, 6, TrainingChoice.OUT)
    await choices.choose(town, GUILD, 7, TrainingChoice.IN)
    await choices.choose(town, GUILD, 999, TrainingChoice.IN)  # nothing of theirs is exported
    assert (await read(town)).community.consents == {
        "5": Consent.GIVEN, "6": Consent.OPTED_OUT, "7": Consent.GIVEN,
    }  # fmt: skip


async def test_feedback_is_with_consent_only_after_the_notice(town: AsyncEngine) -> None:
    """What was written before is not, until its author opts in by the command; that of a stranger never is."""
    for member in (5, 6, 7):
        await feedback.save_feedback(town, "10", member, f"words of {member}")
    await choices.record_notice(town, GUILD, 5)
    async with town.begin() as connection:  # 5 had read the notice before, 6 reads it later
        await connection.execute(update(choices.training_choices).values(notice_at_ms=1))
    await choices.record_notice(town, GUILD, 6)
    async with town.begin() as connection:
        later = update(choices.training_choices).where(choices.training_choices.c.member_id == 6)
        await connection.execute(later.values(notice_at_ms=now_ms() + DAY_MS))
    words = {row.member: row.after_notice for row in (await read(town)).community.feedback}
    assert words == {"5": True, "6": False, "7": False}
    await choices.choose(town, GUILD, 6, TrainingChoice.IN)
    words = {row.member: row.after_notice for row in (await read(town)).community.feedback}
    assert words == {"5": True, "6": True, "7": False}


async def test_rounds_are_chosen_by_number_and_day(town: AsyncEngine) -> None:
    """A round that is open, or is none, is a sentence, and so is nothing at all."""
    async with town.begin() as connection:
        await connection.execute(update(rounds).where(rounds.c.id == 1).values(closes_at_ms=DAY_MS))
    assert [each.number for each in await closed_rounds(town, GUILD, numbers=[1], since_ms=DAY_MS)] == [1]
    for which, words in (
        ({"numbers": [2]}, "Round 2 is not closed"),
        ({"numbers": [1, 9]}, "no round 9"),
        ({"since_ms": DAY_MS + 1}, "nothing to export"),
    ):
        with pytest.raises(OperatorError, match=words):
            await closed_rounds(town, GUILD, **which)  # type: ignore[arg-type]  # a test's words
    with pytest.raises(OperatorError, match="nothing to export"):
        await closed_rounds(town, GUILD + 1)


async def test_the_server_is_known_where_there_is_one(town: AsyncEngine) -> None:
    """Of several, one has to be named; of none there is nothing to export."""
    assert await only_guild(town) == GUILD
    async with town.begin() as connection:
        await connection.execute(update(rounds).where(rounds.c.id == 2).values(guild_id=GUILD + 1))
    with pytest.raises(OperatorError, match=f"--server: {GUILD}, {GUILD + 1}"):
        await only_guild(town)


async def test_no_rounds_are_a_sentence(database: AsyncEngine) -> None:
    with pytest.raises(OperatorError, match="no rounds"):
        await only_guild(database)


async def test_the_cost_is_that_of_what_is_exported(town: AsyncEngine) -> None:
    """A hundred rounds more, that are not exported, cost not one statement or row more."""
    statements: list[str] = []
    event.listen(town.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    first = await read(town, numbers=[1])
    count = len(statements)
    for number in range(3, 103):
        await add_round(town, number, status="closed")
        await add_video(town, str(number * 10), number)
    statements.clear()
    assert await read(town, numbers=[1]) == first
    assert len([text for text in statements if text.lstrip().startswith("SELECT")]) <= count
    async with town.connect() as connection:
        assert len((await connection.execute(videos.select())).all()) == 103
