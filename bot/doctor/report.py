"""`flock doctor`: each thing that FLock needs, whether it is well, and what to do if it is not. It changes nothing.

All checks are made at once, each with its own time: one that hangs is told as such, and hides none of the others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from bot import settings as settings_module
from bot.doctor import database, machine
from bot.doctor.check import TIMEOUT_S, Check, Look
from bot.domain.errors import SettingsError
from bot.monitoring.logs import Secrets
from bot.settings import Settings

SETTINGS_REMEDY = "Set it in .env; see .env.example. For a worker's machine: `flock doctor --worker`."


async def examine(*, worker: bool = False, timeout: float = TIMEOUT_S) -> list[Check]:
    """All checks of a bot's machine, or of a worker's; `timeout` in seconds, for each."""
    try:
        settings = settings_module.load()
    except SettingsError as error:
        return _settings_problems(error)
    try:
        settings.check("worker" if worker else "run")
        checks = [Check(True, "settings", "complete")]
    except SettingsError as error:
        checks = _settings_problems(error)
        if any(check.detail.startswith("FLOCK_DATABASE_URL") for check in checks):
            return checks  # nothing below could be asked
    return await look_at(settings, _looks(worker=worker), checks, timeout=timeout)


async def look_at(
    settings: Settings, looks: Sequence[Look], before: Sequence[Check] = (), *, timeout: float = TIMEOUT_S
) -> list[Check]:
    """What the looks find, in their order, all made at the same time; no secret of the settings is in a word of it."""
    found = await asyncio.gather(*(look.make(settings, timeout) for look in looks))
    hide = Secrets.of(settings).hide
    checks = [*before, *(check for checks in found for check in checks)]
    return [replace(check, detail=hide(check.detail), remedy=hide(check.remedy)) for check in checks]


def _looks(*, worker: bool) -> list[Look]:
    if worker:
        from bot.doctor import worker as on_worker

        return [*machine.LOOKS, *database.LOOKS, *on_worker.LOOKS]
    from bot.doctor import discord, services

    return [*machine.LOOKS, *machine.BOT_LOOKS, *database.BOT_LOOKS, *discord.LOOKS, *services.LOOKS]


def _settings_problems(error: SettingsError) -> list[Check]:
    return [Check(False, "settings", problem, SETTINGS_REMEDY) for problem in error.problems]


def render(checks: list[Check], *, as_json: bool) -> str:
    """The checks as JSON, or as lines to read."""
    if as_json:
        return json.dumps({"ok": all(c.ok for c in checks), "checks": [asdict(c) for c in checks]}, indent=2) + "\n"
    lines = []
    for check in checks:
        lines.append(f"{'✓' if check.ok else '✗'} {check.what}: {check.detail}")
        if check.remedy:
            lines.append(f"    → {check.remedy}")
    return "\n".join(lines) + "\n"
