"""`flock doctor`: each thing that FLock needs, its state, and the remedy for each problem. It changes nothing.

All looks are made at the same time, each with a time limit of its own: one that hangs is reported as such, and hides
none of the others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

from bot.doctor import database, machine, ports, processes
from bot.doctor.check import TIMEOUT_S, Check, Look
from bot.monitoring.logs import Secrets
from bot.settings import Settings, read_settings
from generation.printable import one_line


async def examine(*, worker: bool = False, timeout: float = TIMEOUT_S) -> list[Check]:
    """Return all checks of a bot's machine, or of a worker's; `timeout` in seconds, for each look."""
    checked = read_settings()
    problems = checked.problems_for("worker" if worker else "run")
    checks = [Check(False, "settings", problem.sentence, problem.remedy) for problem in problems]
    if "database_url" in checked.problems:
        return checks  # nearly every look asks the database
    looks = [look for look in _looks(worker=worker) if not checked.problems.keys() & {*look.needs, *look.reads}]
    checks = checks or [Check(True, "settings", "complete")]
    return await look_at(checked.settings, looks, checks, timeout=timeout)


async def look_at(
    settings: Settings, looks: Sequence[Look], before: Sequence[Check] = (), *, timeout: float = TIMEOUT_S
) -> list[Check]:
    """Return the checks of the looks in their order, all made at the same time, without any secret of the settings."""
    results = await asyncio.gather(*(look.checks(settings, timeout) for look in looks))
    hide = Secrets.of(settings).hide
    failed = {check.name: check for result in results for check in result if not check.ok}
    checks = [*before]
    for look, result in zip(looks, results, strict=True):
        causes = [failed[name] for name in look.rests_on if name in failed]
        checks += [check for check in result if not any(_is_told_by(cause, check) for cause in causes)]
    return [replace(check, detail=hide(check.detail), remedy=hide(check.remedy)) for check in checks]


def _is_told_by(cause: Check, check: Check) -> bool:
    """Return True if a check failed only because of what another one reports."""
    return not check.ok and not check.answered and (not cause.answered or cause.detail == check.detail)


def _looks(*, worker: bool) -> list[Look]:
    if worker:
        from bot.doctor import worker as worker_checks

        return [*machine.LOOKS, *database.LOOKS, *ports.WORKER_LOOKS, *worker_checks.LOOKS]
    from bot.doctor import discord, services

    return [
        *machine.LOOKS,
        *machine.BOT_LOOKS,
        *ports.BOT_LOOKS,
        *database.BOT_LOOKS,
        *processes.BOT_LOOKS,
        *discord.LOOKS,
        *services.LOOKS,
    ]


def render(checks: list[Check], *, as_json: bool) -> str:
    """Return the checks as JSON, or as lines to read."""
    if as_json:
        report = {"ok": all(check.ok for check in checks), "checks": [check.as_json() for check in checks]}
        return json.dumps(report, indent=2) + "\n"
    lines = []
    for check in checks:
        lines.append(f"{'✓' if check.ok else '✗'} {one_line(check.name)}: {one_line(check.detail)}")
        if check.remedy:
            lines.append(f"    → {one_line(check.remedy)}")
    return "\n".join(lines) + "\n"
