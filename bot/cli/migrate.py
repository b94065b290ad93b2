"""`flock migrate`: the database with the schema of this version."""

from __future__ import annotations

import argparse
import asyncio

from bot.cli.process import Commands, say
from bot.settings import Settings, load_settings


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser("migrate", help="create or upgrade the database (run and worker do it too)")
    parser.set_defaults(command=run)


def run(_arguments: argparse.Namespace) -> int:
    """Upgrade the database."""
    asyncio.run(_migrate(load_settings("migrate")))
    say("The database is up to date.")
    return 0


async def _migrate(settings: Settings) -> None:
    from bot.database import open_and_upgrade

    database = await open_and_upgrade(settings)
    await database.dispose()
