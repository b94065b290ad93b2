"""`flock doctor`: the checks of this machine and of its services."""

from __future__ import annotations

import argparse
import asyncio
import os

from bot.cli.process import Commands, write


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser("doctor", help="check settings and services, with a remedy for each problem")
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    parser.add_argument("--worker", action="store_true", help="check this machine as a GPU worker's")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the checks and end the process: with 0 if all is well, else with 1."""
    from bot.doctor.report import examine, render

    checks = asyncio.new_event_loop().run_until_complete(examine(worker=arguments.worker))
    write(render(checks, as_json=arguments.json))
    os._exit(0 if all(check.ok for check in checks) else 1)  # a thread that still hangs holds up nobody
