"""The vote writer: what is acknowledged is committed, together with what goes to the chain."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import ElsewhereError, RestartingError, RoundClosedError, VideoUnknownError
from bot.domain.votes import Choice, Reaction, Vote
from bot.store.vote_writer import VoteWriter, known_reactions, votes_of_member
from contracts.outbox import entries
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import outbox, rounds, videos, votes

PEPPER = b"a pepper of the tests, 32 bytes long"
GUILD, MEMBER, MESSAGE = 77, 1001, 5010


async def add_round(database: AsyncEngine, round_id: int, *, closes_in_s: float = 60, status: str = "open") -> None:
    async with database.begin() as connection:
        await connection.execute(
            insert(rounds).values(
                id=round_id,
                guild_id=GUILD,
                number=round_id,
                task="task",
                opened_by=1,
                channel_id=2,
                status=status,
                opens_at_ms=now_ms() - 1000,
                closes_at_ms=now_ms() + int(closes_in_s * 1000),
                chain_key=f"{round_id:064x}",
            )
        )


async def add_video(database: AsyncEngine, video_id: str, round_id: int, *, status: str = "published") -> None:
    async with database.begin() as connection:
        await connection.execute(
            insert(videos).values(
                id=video_id,
                guild_id=GUILD,
                round_id=round_id,
                member_id=5,
                member_name="maker",
                prompt=f"prompt {video_id}",
                status=status,
                created_at_ms=now_ms(),
                cancel_requested=False,
                seed=1,
                model_id="tiny",
                chain_key=f"{int(video_id):064x}",
                message_id=5000 + int(video_id),
            )
        )


@pytest.fixture
async def writer(database: AsyncEngine) -> AsyncIterator[VoteWriter]:
    await add_round(database, 1)
    await add_video(database, "10", 1)
    writer = VoteWriter(database, PEPPER)
    writer.start()
    yield writer
    await writer.close()


def vote(choice: Choice, *, video: str = "10", member: int = MEMBER, guild: int = GUILD) -> Vote:
    return Vote(guild, video, member, choice, "button")


def reaction(choice: Choice, change: Any) -> Reaction:
    return Reaction(GUILD, MESSAGE, MEMBER, choice, change)


async def sent_to_chain(database: AsyncEngine) -> list[tuple[str, int]]:
    async with database.connect() as connection:
        rows = await connection.execute(select(outbox).where(outbox.c.kind == "vote").order_by(outbox.c.id))
        return [(row.voter_id, row.choice) for row in rows]


async def standing(database: AsyncEngine) -> Choice:
    return (await votes_of_member(database, 1, MEMBER)).get("10", Choice.WITHDRAWN)


async def test_a_vote_is_committed_with_its_outbox_entry(writer: VoteWriter, database: AsyncEngine) -> None:
    """When a member hears of their vote, it and its way to the chain are on disk."""
    answer = await writer.cast(vote(Choice.UP))
    assert (answer.choice, answer.changed, answer.round_number, answer.prompt) == (Choice.UP, True, 1, "prompt 10")
    assert await standing(database) is Choice.UP
    assert await sent_to_chain(database) == [(entries.voter_id(PEPPER, GUILD, MEMBER), 1)]


async def test_one_member_has_one_vote(writer: VoteWriter, database: AsyncEngine) -> None:
    """Changing and withdrawing replaces the vote; repeating it changes nothing and costs no gas."""
    for choice in (Choice.UP, Choice.UP, Choice.DOWN, Choice.WITHDRAWN, Choice.WITHDRAWN):
        await writer.cast(vote(choice))
    assert await standing(database) is Choice.WITHDRAWN
    assert [choice for _, choice in await sent_to_chain(database)] == [1, 2, 0]
    async with database.connect() as connection:
        assert len((await connection.execute(select(votes))).all()) == 1


@pytest.mark.parametrize(("closes_in_s", "status"), [(-0.001, "open"), (60, "closing"), (60, "closed")])
async def test_no_vote_is_taken_after_the_close(
    writer: VoteWriter, database: AsyncEngine, closes_in_s: float, status: str
) -> None:
    """Past the deadline, or once a moderator closed the round, nothing changes any more."""
    await writer.cast(vote(Choice.UP))
    async with database.begin() as connection:
        await connection.execute(update(rounds).values(status=status, closes_at_ms=now_ms() + int(closes_in_s * 1000)))
    with pytest.raises(RoundClosedError, match="Round 1 is closed"):
        await writer.cast(vote(Choice.DOWN))
    with pytest.raises(RoundClosedError):
        await writer.react(reaction(Choice.DOWN, "added"))
    assert await standing(database) is Choice.UP
    assert len(await sent_to_chain(database)) == 1


async def test_forged_votes_are_refused(writer: VoteWriter, database: AsyncEngine) -> None:
    """A video that is unknown or not posted yet, or a button carried to another server, takes no vote."""
    await add_video(database, "11", 1, status="rendering")
    for video in ("11", "999"):
        with pytest.raises(VideoUnknownError):
            await writer.cast(vote(Choice.UP, video=video))
    with pytest.raises(ElsewhereError):
        await writer.cast(vote(Choice.UP, guild=GUILD + 1))
    assert await sent_to_chain(database) == []


async def test_one_bad_vote_does_not_spoil_its_neighbours(writer: VoteWriter, database: AsyncEngine) -> None:
    """Votes that are committed together are judged one by one."""
    answers = await asyncio.gather(
        writer.cast(vote(Choice.UP)),
        writer.cast(vote(Choice.UP, video="999")),
        writer.cast(vote(Choice.DOWN, member=MEMBER + 1)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], VideoUnknownError)
    assert len(await sent_to_chain(database)) == 2


async def test_many_votes_share_a_commit_and_none_is_lost(writer: VoteWriter, database: AsyncEngine) -> None:
    """A thousand members at once: everybody's vote is there, once."""
    await asyncio.gather(*(writer.cast(vote(Choice.UP, member=m)) for m in range(1, 1001)))
    async with database.connect() as connection:
        members = list((await connection.execute(select(votes.c.member_id))).scalars())
    assert sorted(members) == list(range(1, 1001))
    assert len(await sent_to_chain(database)) == 1000


async def test_the_last_of_a_members_actions_wins_also_within_one_commit(
    writer: VoteWriter, database: AsyncEngine
) -> None:
    """Order is kept where it matters: among the actions of one member."""
    answers = await asyncio.gather(*(writer.cast(vote(c)) for c in (Choice.UP, Choice.DOWN, Choice.UP, Choice.DOWN)))
    assert [a.choice for a in answers] == [1, 2, 1, 2]
    assert await standing(database) is Choice.DOWN
    assert [choice for _, choice in await sent_to_chain(database)] == [1, 2, 1, 2]


async def test_a_reaction_is_a_vote_and_taking_it_off_withdraws_it(writer: VoteWriter, database: AsyncEngine) -> None:
    """👍 counts as up; removing it takes that vote back."""
    await writer.react(reaction(Choice.UP, "added"))
    assert await standing(database) is Choice.UP
    assert await known_reactions(database, "10") == {(MEMBER, Choice.UP)}
    await writer.react(reaction(Choice.UP, "removed"))
    assert await standing(database) is Choice.WITHDRAWN
    assert await known_reactions(database, "10") == set()


async def test_taking_a_reaction_off_leaves_a_buttons_vote_alone(writer: VoteWriter, database: AsyncEngine) -> None:
    """The last action wins: a vote by button after the reaction is not withdrawn with it."""
    await writer.react(reaction(Choice.UP, "added"))
    await writer.cast(vote(Choice.UP))
    await writer.react(reaction(Choice.UP, "removed"))
    assert await standing(database) is Choice.UP
    await writer.react(reaction(Choice.DOWN, "added"))
    await writer.react(reaction(Choice.UP, "removed"))
    assert await standing(database) is Choice.DOWN


def missed(choice: Choice, change: Any) -> Reaction:
    return Reaction(GUILD, MESSAGE, MEMBER, choice, change, missed=True)


async def begun(*waiting: Any) -> list[asyncio.Task[Any]]:
    """Tasks that have reached the writer, each after the one before."""
    tasks = []
    for coroutine in waiting:
        tasks.append(asyncio.create_task(coroutine))
        await asyncio.sleep(0.05)
    return tasks


async def expect_asked(asked: list[str], *videos: str) -> None:
    """Wait, as long as a busy machine needs, until the writer asked for exactly these videos."""
    async with asyncio.timeout(30):
        while len(asked) < len(videos):
            await asyncio.sleep(0.01)
    assert asked == list(videos)


@pytest.fixture
async def gated(database: AsyncEngine, writer: VoteWriter) -> AsyncIterator[tuple[VoteWriter, list[str]]]:
    """A writer as in the bot, and the videos that it asked to look at."""
    asked: list[str] = []
    gated = VoteWriter(database, PEPPER, look_at=asked.append)
    gated.start()
    yield gated, asked
    await gated.close()


async def test_nothing_is_acknowledged_before_the_card_was_looked_at(
    gated: tuple[VoteWriter, list[str]], database: AsyncEngine
) -> None:
    """A press waits for what was missed before it; told too early, it would look older after the next death."""
    writer, asked = gated
    press, taken_off = await begun(writer.cast(vote(Choice.DOWN)), writer.react(reaction(Choice.UP, "removed")))
    await expect_asked(asked, "10", "10")
    assert not press.done()
    assert await standing(database) is Choice.WITHDRAWN
    assert (await writer.react(missed(Choice.UP, "added"))).choice is Choice.UP
    writer.mark_caught_up("10")
    assert (await press).choice is Choice.DOWN
    assert (await taken_off).choice is Choice.DOWN
    assert await sent_to_chain(database) != []
    assert await known_reactions(database, "10") == set()


async def test_a_card_is_looked_at_once_a_session(gated: tuple[VoteWriter, list[str]], database: AsyncEngine) -> None:
    """The twin: what comes after the look is recorded at once, until the next session begins."""
    writer, asked = gated
    writer.mark_caught_up("10")
    assert (await writer.cast(vote(Choice.DOWN))).choice is Choice.DOWN
    assert asked == []
    writer.begin_session()
    (press,) = await begun(writer.cast(vote(Choice.UP)))
    await expect_asked(asked, "10")
    writer.begin_session()  # the one who looked has gone with the session: it is asked for again
    assert asked == ["10", "10"]
    # Found now, so it was made after the press of the session before, and before that of this one.
    assert (await writer.react(missed(Choice.UP, "added"))).changed
    writer.mark_caught_up("10")
    answer = await press
    assert (answer.choice, answer.changed) == (Choice.UP, False)


async def test_what_cannot_be_recorded_anyway_does_not_wait(
    gated: tuple[VoteWriter, list[str]], database: AsyncEngine
) -> None:
    """A vote on an unknown video, or in a closed round, is refused at once."""
    writer, asked = gated
    await add_round(database, 2, status="closed")
    await add_video(database, "20", 2)
    with pytest.raises(RoundClosedError):
        await writer.cast(Vote(GUILD, "20", MEMBER, Choice.UP, "button"))
    with pytest.raises(VideoUnknownError):
        await writer.cast(Vote(GUILD, "404", MEMBER, Choice.UP, "button"))
    assert asked == []


async def test_who_still_waits_at_the_end_is_told(gated: tuple[VoteWriter, list[str]], database: AsyncEngine) -> None:
    """A bot that stops says so, instead of leaving a member in front of a wheel; nothing was recorded."""
    writer, _asked = gated
    (press,) = await begun(writer.cast(vote(Choice.UP)))
    await writer.close()
    with pytest.raises(RestartingError, match="nothing was recorded"):
        await press
    assert await standing(database) is Choice.WITHDRAWN


async def test_reactions_elsewhere_are_nobodys_vote(writer: VoteWriter, database: AsyncEngine) -> None:
    """A 👍 on a message that is no card, or that another server claims as its own, records nothing."""
    with pytest.raises(VideoUnknownError):
        await writer.react(Reaction(GUILD, MESSAGE + 99, MEMBER, Choice.UP, "added"))
    with pytest.raises(ElsewhereError):
        await writer.react(Reaction(GUILD + 1, MESSAGE, MEMBER, Choice.UP, "added"))
    assert await sent_to_chain(database) == []


async def test_a_failed_database_is_told_and_the_next_vote_works(writer: VoteWriter, database: AsyncEngine) -> None:
    """A vote that was not committed is not acknowledged; afterwards voting goes on."""
    async with database.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE votes RENAME TO votes_away")
    with pytest.raises(SQLAlchemyError):
        await writer.cast(vote(Choice.UP))
    async with database.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE votes_away RENAME TO votes")
    assert await sent_to_chain(database) == []
    assert (await writer.cast(vote(Choice.UP))).choice is Choice.UP


async def test_a_reaction_outlives_a_failed_database(sqlite_url: str) -> None:
    """Nobody can be told that it was lost, so it is tried again, before what came after it."""
    await upgrade_database(sqlite_url)
    database = open_database(sqlite_url)
    await add_round(database, 1)
    await add_video(database, "10", 1)
    writer = VoteWriter(database, PEPPER)
    writer.start()
    async with database.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE votes RENAME TO votes_away")
    up, press = await begun(writer.react(reaction(Choice.UP, "added")), writer.cast(vote(Choice.DOWN)))
    with pytest.raises(SQLAlchemyError):
        await press
    assert not up.done()
    async with database.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE votes_away RENAME TO votes")
    down = await writer.cast(vote(Choice.DOWN))
    assert ((await up).choice, down.choice, down.changed) == (Choice.UP, Choice.DOWN, True)
    await writer.close()
    await database.dispose()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["cast", "added", "removed"]),
        st.sampled_from([Choice.WITHDRAWN, Choice.UP, Choice.DOWN]),
        st.integers(1, 3),
    ),
    max_size=25,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
async def test_any_history_ends_as_a_plain_model_says(
    actions: list[tuple[str, Choice, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever members do, votes and the last outbox entry of each agree with a model of ten lines."""
    url = f"sqlite:///{tmp_path_factory.mktemp('model')}/flock.db"
    await upgrade_database(url)
    database = open_database(url)
    await add_round(database, 1)
    await add_video(database, "10", 1)
    writer = VoteWriter(database, PEPPER)
    writer.start()
    model: dict[int, tuple[Choice, str]] = {}
    try:
        for kind, choice, member in actions:
            if kind == "cast":
                await writer.cast(vote(choice, member=member))
                model[member] = (choice, "button")
            elif choice is not Choice.WITHDRAWN:
                await writer.react(Reaction(GUILD, MESSAGE, member, choice, kind))  # type: ignore[arg-type]  # added | removed
                if kind == "added":
                    model[member] = (choice, "reaction")
                elif model.get(member) == (choice, "reaction"):
                    model[member] = (Choice.WITHDRAWN, "reaction")
        for member in (1, 2, 3):
            wanted = model.get(member, (Choice.WITHDRAWN, ""))[0]
            found = (await votes_of_member(database, 1, member)).get("10", Choice.WITHDRAWN)
            assert found == wanted
            mine = [c for v, c in await sent_to_chain(database) if v == entries.voter_id(PEPPER, GUILD, member)]
            assert (mine[-1] if mine else 0) == wanted
            assert all(a != b for a, b in itertools.pairwise(mine))
    finally:
        await writer.close()
        await database.dispose()
