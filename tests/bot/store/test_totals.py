"""The metrics' numbers: what is over is counted once, and they are right all the same."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.votes import Choice, Vote
from bot.store import videos as store
from bot.store.totals import SETTLED_MS, Totals, TotalsCounter
from bot.store.vote_writer import VoteWriter
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, render_timings, rounds, videos, votes
from tests.growth.history import A_ROUND, GUILD, PEPPER, Past, fill, video_of
from tests.growth.plans import watched

PAST = Past(rounds=4, votes=200, videos=20, members=100, open_votes=200, waiting=50)
BOUNDS = (4, 6, 600)


async def plainly(database: AsyncEngine) -> Totals:
    """The same numbers, counted from the first row to the last."""
    seconds = render_timings.c.seconds
    async with database.connect() as connection:

        async def by(column: Any, *where: Any) -> dict[Any, int]:
            query = select(column, func.count()).where(*where).group_by(column)
            return dict((await connection.execute(query)).all())

        gas = select(chain_transactions.c.kind, func.sum(chain_transactions.c.gas_used))
        final = chain_transactions.c.state == "final"
        found = Totals()
        found.videos.update(await by(videos.c.status))
        found.entries.update(await by(outbox.c.state))
        found.votes.update(await by(votes.c.choice))
        found.batches.update(await by(chain_transactions.c.kind, final))
        for kind, used in await connection.execute(gas.where(final).group_by(chain_transactions.c.kind)):
            found.gas[kind] = int(used)
        for bound in BOUNDS:
            found.renders[bound] = int(await connection.scalar(select(func.count()).where(seconds <= bound)) or 0)
        found.rendered = int(await connection.scalar(select(func.count()).select_from(render_timings)) or 0)
        found.render_seconds = float(await connection.scalar(select(func.sum(seconds))) or 0)
    return found


async def test_they_are_what_a_count_of_everything_gives(database: AsyncEngine, database_url: str) -> None:
    """At the first look and at the next, whatever has happened in between, and to whichever round."""
    fill(database_url, PAST)
    counting = TotalsCounter(database, BOUNDS)
    assert await counting.totals() == await plainly(database)
    assert await counting.totals() == await plainly(database)

    writer = VoteWriter(database, PEPPER)
    writer.start()
    for member in range(1, 30):
        await writer.cast(Vote(GUILD, PAST.of_the_open_round[0], member, Choice.DOWN, "button"))
    await writer.close()
    async with database.begin() as connection:
        await store.remove(connection, video_of(1, 1), "posted long ago")
        await connection.execute(insert(render_timings).values(model_id="m", seconds=5.0, finished_at_ms=now_ms()))
        await connection.execute(
            update(outbox)
            .where(outbox.c.round_id == PAST.open_round, outbox.c.state == "pending")
            .values(state="final")
        )
    found = await counting.totals()
    assert found == await plainly(database)
    assert found.videos["removed"] == 5

    long_ago = now_ms() - 2 * SETTLED_MS  # days later: the open round is over as well
    async with database.begin() as connection:
        await connection.execute(update(rounds).values(status="closed", closes_at_ms=long_ago))
        await connection.execute(update(videos).where(videos.c.status == "rendering").values(status="failed"))
        for status in ("queued", "uploading", "posting"):
            await connection.execute(update(videos).where(videos.c.status == status).values(status="cancelled"))
        await connection.execute(update(render_timings).values(finished_at_ms=long_ago))
        await connection.execute(update(chain_transactions).values(created_at_ms=long_ago))
    for _ in range(2):
        assert await counting.totals() == await plainly(database)


async def test_what_is_over_is_not_counted_again(database: AsyncEngine, database_url: str) -> None:
    """The second look reads nothing of rounds that are over; the first one did, and so does one after a restart."""
    fill(database_url, PAST)
    async with database.begin() as connection:  # all of them but the open one, days ago
        over = rounds.c.id <= PAST.rounds
        await connection.execute(update(rounds).where(over).values(closes_at_ms=now_ms() - 2 * SETTLED_MS))
    counting = TotalsCounter(database, BOUNDS)
    first = await counting.totals()
    async with database.begin() as connection:  # as nobody does: it shows what is read
        await connection.execute(votes.delete().where(votes.c.video_id == video_of(1, 0)))
        await connection.execute(outbox.delete().where(outbox.c.round_id == 2))
    with watched(database) as watch:
        assert await counting.totals() == first
    if database.dialect.name == "sqlite":
        assert not {"votes", "outbox", "videos", "render_timings"} & watch.scans().keys()
    assert await TotalsCounter(database, BOUNDS).totals() != first


async def test_a_round_with_something_on_its_way_is_not_over(database: AsyncEngine, database_url: str) -> None:
    """However long ago it closed; it is counted at each look until nothing of it waits."""
    fill(database_url, PAST)
    async with database.begin() as connection:
        await connection.execute(update(rounds).values(closes_at_ms=now_ms() - 2 * SETTLED_MS))
        entries = (outbox.c.round_id == 1, outbox.c.transaction_id == A_ROUND + PAST.videos + 4)
        await connection.execute(update(outbox).where(*entries).values(state="batched"))
        await connection.execute(update(videos).where(videos.c.id == video_of(2, 17)).values(status="hosting"))
    counting = TotalsCounter(database, BOUNDS)
    assert (await counting.totals()).entries["batched"] > 0
    async with database.begin() as connection:
        await connection.execute(update(outbox).where(outbox.c.state == "batched").values(state="final"))
        await connection.execute(update(videos).where(videos.c.status == "hosting").values(status="failed"))
    found = await counting.totals()
    assert found == await plainly(database)
    assert (found.entries["batched"], found.videos["hosting"]) == (0, 0)
