"""The checks of ports: free ones, ones that others have, and those that the running bot itself has opened."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.doctor.ports import listeners, try_to_bind
from bot.settings import Settings
from tests.bot.conftest import Told, free_port
from tests.builders.doctor import checks_of


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("setting", ["FLOCK_METRICS_PORT", "FLOCK_PAGE_PORT", "FLOCK_WEBHOOK_PORT"])
async def test_a_port_that_another_program_has_is_told(
    monkeypatch: pytest.MonkeyPatch, taken: int, setting: str
) -> None:
    """With the setting that names another one; a free port is well, and the look leaves it free."""
    monkeypatch.setenv("FLOCK_WEBHOOK_SECRET", "5ca1ab1e0ddba11f")
    check = (await checks_of(monkeypatch, {}, **{setting: str(taken)}))[f"port {taken}"]
    assert not check.ok
    assert "another program has taken it" in check.detail
    assert f"Set {setting} to a free port" in check.remedy
    free = free_port()
    assert (await checks_of(monkeypatch, {}, **{setting: str(free)}))[f"port {free}"].ok
    assert try_to_bind("127.0.0.1", free) is None


async def test_two_settings_that_name_one_port_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are free before the start, and the second would fail then."""
    port = str(free_port())
    found = await checks_of(monkeypatch, {}, FLOCK_METRICS_PORT=port, FLOCK_PAGE_PORT=port)
    check = found[f"port {port}"]
    assert not check.ok
    assert check.detail == "both FLOCK_METRICS_PORT and FLOCK_PAGE_PORT name it"


async def test_an_address_of_another_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy names the setting of the address, and what it may be."""
    port = str(free_port())
    found = await checks_of(monkeypatch, {}, FLOCK_PAGE_PORT=port, FLOCK_PAGE_HOST="192.0.2.7")
    assert not found[f"port {port}"].ok
    assert "FLOCK_PAGE_HOST" in found[f"port {port}"].remedy
    found = await checks_of(monkeypatch, {}, FLOCK_PAGE_PORT=port, FLOCK_PAGE_HOST="0.0.0.0")  # noqa: S104  # opened for a moment only
    assert found[f"port {port}"].ok


def test_a_worker_opens_its_metrics_alone() -> None:
    """A shared `.env` may name the bot's ports; a port of 0 is off."""
    settings = Settings(_env_file=None, metrics_port=9, page_port=8, webhook_port=7)  # type: ignore[call-arg]  # a default each
    assert [each.port for each in listeners(settings, "bot")] == [9, 8, 7]
    assert [each.port for each in listeners(settings, "worker")] == [9]
    assert listeners(Settings(_env_file=None), "bot") == []  # type: ignore[call-arg]  # as above


@pytest.mark.asyncio(loop_scope="session")
async def test_a_port_of_the_running_bot_is_well(
    told: Told, monkeypatch: pytest.MonkeyPatch, taken: int, tmp_path: Path
) -> None:
    """It has opened its own port; with a database where no bot runs, the same port is another program's."""
    page = f"port {told.stack.keys.signing_port}"
    found = await checks_of(monkeypatch, told.stack.bot_env, FLOCK_METRICS_PORT=str(taken))
    assert found[page].ok
    assert "the bot that runs here has opened it" in found[page].detail
    assert not found[f"port {taken}"].ok
    found = await checks_of(monkeypatch, told.stack.bot_env, FLOCK_DATABASE_URL=f"sqlite:///{tmp_path}/other.db")
    assert not found[page].ok
