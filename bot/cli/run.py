"""`flock run`: the bot, until it is stopped."""

from __future__ import annotations

import argparse

from bot.cli.process import Commands, add_watch_stdin, run_until_stopped
from bot.monitoring import logs
from bot.settings import load_settings


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser("run", help="the bot: Discord, votes, rounds, and the relayer to the chain")
    add_watch_stdin(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the bot; a second signal changes nothing for it."""
    settings = load_settings("run")
    logs.start(settings, "bot")
    from bot.app import run_bot

    return run_until_stopped(lambda stop, _at_once: run_bot(settings, stop), watch_stdin=arguments.watch_stdin)
