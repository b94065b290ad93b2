"""Nothing that somebody waits for takes longer the more is over: held by what the databases do, never by time."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import case, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from migrations.database import one_of, open_database, upgrade_database
from migrations.schema import outbox, videos, votes
from tests.conftest import empty_postgresql
from tests.growth.history import Past, fill, member_of
from tests.growth.learning import fill_learning
from tests.growth.operations import Operations
from tests.growth.plans import Statement, Watch, scanned, watched

FEW = {"open_votes": 400, "waiting": 100, "members": 2_000}
# Long enough for what is bounded by a number, such as the newest five hundred videos, to have reached it in both.
SHORT = {"sqlite": Past(rounds=30, votes=100, **FEW), "postgresql": Past(rounds=40, votes=1_000, **FEW)}
LONG = {"sqlite": Past(rounds=120, votes=100, **FEW), "postgresql": Past(rounds=160, votes=1_000, **FEW)}
# What is over is four times as much. A tree of an index may have one more level, and PostgreSQL another plan.
MOST = {"sqlite": 1.2, "postgresql": 2.2}
SLACK = {"sqlite": 300, "postgresql": 60}  # steps, pages

GROWING = {
    "battle_ballots", "battle_pairs", "battle_rounds", "battle_videos", "battle_voters", "candidates",
    "chain_attempts", "chain_transactions", "feedback", "outbox", "reactions", "releases", "render_timings", "reports",
    "reviews", "rounds", "seats", "signing_requests", "training_choices", "unsigned_choices", "videos", "voters",
    "votes", "wallets",
}  # fmt: skip
FIRST_INDEXES = ["ix_outbox_round_id_state", "ix_outbox_state_kind", "ix_outbox_video_id_voter_id"]
ALLOWED = {  # scans by the beginnings of their statements, each with its reason
    "SELECT wallets.member_id FROM wallets LIMIT": "one row is read",
    "SELECT chain_transactions.raw FROM chain_transactions ORDER BY chain_transactions.id DESC LIMIT": "so here",
    "SELECT chain_transactions.kind FROM chain_transactions ORDER BY chain_transactions.id DESC LIMIT": "64 are read",
    "SELECT max(": "the last entry of an index is read",
}


async def looked_at(url: str, past: Past) -> dict[str, Watch]:
    """What the database does for each operation, once everything is warm."""
    database = open_database(url)
    operations = Operations(database, past)
    await operations.warm()
    found = {}
    try:
        for name, operation in operations.all().items():
            await operation()  # what is different at the first time
            with watched(database) as found[name]:
                await operation()
    finally:
        await operations.close()
        await database.dispose()
    return found


def grown(kind: str, short: dict[str, Watch], long: dict[str, Watch]) -> dict[str, tuple[int, int, list[Statement]]]:
    """The operations that do more work with the long past, with what is to be known of them."""
    return {
        name: (short[name].work, watch.work, watch.statements)
        for name, watch in long.items()
        if watch.work > short[name].work * MOST[kind] + SLACK[kind]
    }


def forbidden(watch: Watch) -> dict[str, set[str]]:
    """The statements that scan what grows, by table, but for those that are allowed to."""
    return {
        table: texts
        for table, found in watch.scans().items()
        if table in GROWING and (texts := {text for text in found if not text.startswith(tuple(ALLOWED))})
    }


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """Kind, and two databases of it: with the short past and with the long one."""
    folder, urls = tmp_path_factory.mktemp("pasts"), []
    for name, past in (("short", SHORT[request.param]), ("long", LONG[request.param])):
        url = f"sqlite:///{folder}/{name}.db"
        if request.param == "postgresql":
            url = empty_postgresql(request.getfixturevalue("postgres_server"))
        asyncio.run(upgrade_database(url))
        fill(url, past)
        fill_learning(url, past)
        urls.append(url)
    return request.param, urls


def make_anew(url: str, names: list[str]) -> None:
    """Makes indexes of the outbox anew, in this order, before those that came later."""
    path = url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'outbox' ORDER BY rowid"
        found = dict(connection.execute(query).fetchall())
        for name in [*names, *(name for name in found if name not in names)]:
            connection.execute(f"DROP INDEX {name}")
            connection.execute(found[name])


@pytest.mark.parametrize("order", [FIRST_INDEXES, FIRST_INDEXES[::-1]])
async def test_the_order_in_which_indexes_were_made_does_not_matter(
    filled: tuple[str, list[str]], order: list[str]
) -> None:
    """An earlier upgrade made the outbox anew, with its indexes in any order, and of two SQLite takes the later one."""
    kind, urls = filled
    if kind != "sqlite":
        pytest.skip("PostgreSQL chooses by what it knows of the values")
    for url in urls:
        make_anew(url, order)
    short, long = await looked_at(urls[0], SHORT[kind]), await looked_at(urls[1], LONG[kind])
    assert grown(kind, short, long) == {}


async def test_no_operation_reads_more_the_more_is_over(filled: tuple[str, list[str]]) -> None:
    """With four times as many rounds behind them, all do the same work; and on SQLite none reads a table through."""
    kind, urls = filled
    short, long = await looked_at(urls[0], SHORT[kind]), await looked_at(urls[1], LONG[kind])
    assert grown(kind, short, long) == {}
    assert len(long) > 80
    if kind == "sqlite":  # PostgreSQL reads small tables through, and rightly
        assert {name: found for name, watch in long.items() if (found := forbidden(watch))} == {}


# ------------------------------------------------------------------ the twins: what was there before is seen

Old = Callable[[AsyncConnection, Past], Awaitable[object]]


async def by_pairs(connection: AsyncConnection, past: Past) -> None:
    pairs = [(past.of_the_open_round[0], 1), (past.of_the_open_round[1], 2)]
    await connection.execute(select(votes).where(tuple_(votes.c.video_id, votes.c.member_id).in_(pairs)))


async def by_all_votes(connection: AsyncConnection, past: Past) -> None:
    up = func.sum(case((votes.c.choice == 1, 1), else_=0))
    counted = select(votes.c.video_id, up.label("up")).group_by(votes.c.video_id).subquery()
    query = select(videos.c.id, counted.c.up).outerjoin(counted, counted.c.video_id == videos.c.id)
    await connection.execute(query.where(videos.c.round_id == past.open_round))


async def by_words(connection: AsyncConnection, _past: Past) -> None:
    await connection.execute(select(videos.c.id).where(videos.c.prompt.icontains("nobody")))


async def by_nonce(connection: AsyncConnection, _past: Past) -> None:
    await connection.execute(update(outbox).where(outbox.c.reason == "none").values(state="batched"))


SCANNED = {by_pairs: "votes", by_all_votes: "votes", by_words: "videos", by_nonce: "outbox"}


async def test_what_reads_everything_is_seen(filled: tuple[str, list[str]]) -> None:
    """Former shapes of statements are told to scan, and to do more work the more is over."""
    kind, urls = filled
    work: dict[Old, list[int]] = {old: [] for old in SCANNED}
    for url, past in zip(urls, (SHORT[kind], LONG[kind]), strict=True):
        database = open_database(url)
        for old, table in SCANNED.items():
            with watched(database) as watch:
                async with database.begin() as connection:
                    await old(connection, past)
            if (kind, old) != ("postgresql", by_pairs):  # it always had an index for that
                assert forbidden(watch).keys() == {table}
                work[old].append(watch.work)
        await database.dispose()
    for old, found in work.items():
        if found:
            assert found[1] > found[0] * MOST[kind] + SLACK[kind], old.__name__


def test_a_walk_over_an_index_is_a_scan_and_a_lookup_is_none() -> None:
    """As SQLite tells them, by the tables' own names."""
    text = "SELECT * FROM outbox AS link JOIN wallets"
    assert scanned(text, ["SCAN link USING COVERING INDEX ix_outbox_state_kind"]) == {"outbox"}
    assert scanned(text, ["SEARCH link USING INDEX ix_outbox_state_kind (state=?)", "SCAN 3 CONSTANT ROWS"]) == set()


# ------------------------------------------------------------------ pairs


async def test_pairs_are_found_by_an_index_and_nothing_else_is(database: AsyncEngine, database_url: str) -> None:
    """Five hundred of them about as many videos: what is found is what was asked for, and no pair is none."""
    past = Past(rounds=1, votes=100, videos=500, members=600, open_votes=500, waiting=0)
    fill(database_url, past)
    wanted = {
        (past.of_the_open_round[vote], member_of(past, past.open_round, vote) + vote % 2)  # each second is no vote
        for vote in range(500)
    }
    with watched(database) as watch:
        async with database.connect() as connection:
            query = select(votes.c.video_id, votes.c.member_id)
            found = {
                tuple(row) for row in await connection.execute(query.where(one_of(wanted, *query.selected_columns)))
            }
    async with database.connect() as connection:
        assert (await connection.execute(query.where(one_of([], *query.selected_columns)))).all() == []
    expected = {(past.of_the_open_round[vote], member_of(past, past.open_round, vote)) for vote in range(0, 500, 2)}
    assert found == expected
    if database.dialect.name == "sqlite":
        assert forbidden(watch) == {}
