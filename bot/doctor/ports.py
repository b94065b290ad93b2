"""The checks of the ports that a process opens: each is free, or held by that very process, which runs already."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Literal, NamedTuple

import aiohttp
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from bot.doctor.check import Check, Look, in_thread
from bot.doctor.database import read_database
from bot.domain.errors import OperatorError
from bot.settings import Settings
from generation.queue.reaper import ReaperTimes
from migrations.database import now_ms
from migrations.schema import executor_leases

Role = Literal["bot", "worker"]
PROBE_S = 3.0


class Listener(NamedTuple):
    """A port that a process opens."""

    purpose: str
    setting: str  # FLOCK_…_HOST and FLOCK_…_PORT
    host: str
    port: int


def listeners(settings: Settings, role: Role) -> list[Listener]:
    """Return the ports that a process of this role opens."""
    every = [Listener("metrics", "METRICS", settings.metrics_host, settings.metrics_port)]
    if role == "bot":
        every.append(Listener("signing page", "PAGE", settings.page_host, settings.page_port))
        every.append(Listener("webhook", "WEBHOOK", settings.webhook_host, settings.webhook_port))
    return [each for each in every if each.port]


async def bot_ports(settings: Settings) -> Sequence[Check]:
    """Check the ports of the metrics, of the signing page and of the webhook."""
    return await _ports(settings, "bot")


async def worker_ports(settings: Settings) -> Sequence[Check]:
    """Check the port of the metrics."""
    return await _ports(settings, "worker")


async def _ports(settings: Settings, role: Role) -> list[Check]:
    checks: list[Check] = []
    taken: dict[int, Listener] = {}
    for each in listeners(settings, role):
        name = f"port {each.port}"
        if each.port in taken:
            detail = f"both FLOCK_{taken[each.port].setting}_PORT and FLOCK_{each.setting}_PORT name it"
            checks.append(Check(False, name, detail, "Give each of them a port of its own."))
            continue
        taken[each.port] = each
        checks.append(await _port(settings, role, each, name))
    return checks


async def _port(settings: Settings, role: Role, listener: Listener, name: str) -> Check:
    error = await in_thread(lambda: try_to_bind(listener.host, listener.port))
    if error is None:
        return Check(True, name, f"free for the {listener.purpose}")
    if error.errno == errno.EADDRINUSE:
        if await _is_running_here(settings, role) and await _is_ours(listener):
            return Check(True, name, f"the {role} that runs here has opened it for the {listener.purpose}")
        detail = f"another program has taken it, and the {listener.purpose} needs it"
        remedy = f"Set FLOCK_{listener.setting}_PORT to a free port; each process on a machine needs ports of its own."
        return Check(False, name, detail, remedy)
    detail = f"it cannot be opened on {listener.host} for the {listener.purpose} ({error.strerror or 'no address'})"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Check(False, name, detail, f"Set FLOCK_{listener.setting}_PORT to a port above 1023.")
    remedy = f"Set FLOCK_{listener.setting}_HOST to an address of this machine: 127.0.0.1, or 0.0.0.0 for all of them."
    return Check(False, name, detail, remedy)


def try_to_bind(host: str, port: int) -> OSError | None:
    """Return why a process could not listen there now; None where it could. Nothing is left open."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in places:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return error
    return None


async def _is_running_here(settings: Settings, role: Role) -> bool:
    """Return True if a process of this role on this machine has renewed its lease lately."""
    since = now_ms() - int(ReaperTimes().lease * 1000)
    query = select(executor_leases.c.executor_id).where(
        executor_leases.c.role == role, executor_leases.c.beat_at_ms >= since
    )
    try:  # also before a migration: this table has stayed as it is
        ids = await read_database(settings, lambda connection: list(connection.scalars(query)))
    except (OperatorError, SQLAlchemyError):
        return False  # the check of the database reports that it does not answer, or is empty
    return any(each.startswith(f"{role}-{socket.gethostname()}-") for each in ids)


async def _is_ours(listener: Listener) -> bool:
    """Return True if a web server of our kind answers there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(listener.host, listener.host)  # noqa: S104  # compared, and never bound
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.port}/"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_S)) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            return "aiohttp" in answer.headers.get("Server", "")
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False


BOT_LOOKS = (Look("ports", bot_ports, "Check FLOCK_METRICS_HOST, FLOCK_PAGE_HOST and FLOCK_WEBHOOK_HOST."),)
WORKER_LOOKS = (Look("ports", worker_ports, "Check FLOCK_METRICS_HOST and FLOCK_METRICS_PORT."),)
