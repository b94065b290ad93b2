"""The `flock` command: builds the parser of all commands, and runs the one on the command line."""

from __future__ import annotations

import argparse
from functools import partial

from bot.cli import audit, backup, costs, demo, deploy, doctor, migrate, models, rerender, run, worker, workers
from bot.cli.learning import export, retrain, train
from bot.cli.process import exit_code_of
from generation.prctl import hide_from_others

DESCRIPTION = "FLock: a Discord community makes a text-to-video model its own."
EPILOG = """first steps:
  flock demo                  see the whole loop on this machine: no account, no GPU, no wallet
  flock doctor                check the settings for a real server, with a remedy for each problem

Settings come from the environment and from a file .env; .env.example describes them all."""

# In the order in which `flock --help` lists them.
FAMILIES = (
    demo,
    run,
    worker,
    workers,
    models,
    rerender,
    train,
    retrain,
    migrate,
    doctor,
    backup,
    deploy,
    audit,
    export,
    costs,
)


def main(argv: list[str] | None = None) -> None:
    """Run one command; exit with its code, or with a sentence on stderr and 1 (2 for a wrong command line)."""
    if argv is None:  # a process of its own: what it reads from its environment no other process needs to see
        hide_from_others()
    arguments = build_parser().parse_args(argv)
    raise SystemExit(exit_code_of(partial(arguments.command, arguments)))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `flock` with every command; `command` in its result is the function to call."""
    parser = argparse.ArgumentParser(
        prog="flock", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for family in FAMILIES:
        family.add_parser(commands)
    return parser


if __name__ == "__main__":
    main()
