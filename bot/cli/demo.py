"""`flock demo`: the whole loop on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from bot.cli.process import Commands
from generation.extras import require


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser(
        "demo",
        help="the whole loop on this machine, with embedded services and a small scripted community",
        description="Starts an embedded Discord, video host and chain, the bot, and a worker; then a scripted "
        "community opens a round, asks for videos, and votes. Everything but the community is the product itself. "
        "Then it stays up until Ctrl-C, with a page on which you are a member yourself.",
    )
    parser.add_argument("--once", action="store_true", help="end after the story instead of staying up with the page")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="a prompt of the story; may be repeated")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep everything in DIR, and go on from it next time")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder, which is removed at the end")
    parser.add_argument("--database-url", metavar="URL", help="use this database instead of a SQLite file in the state")
    parser.add_argument(
        "--page",
        type=address,
        metavar="HOST:PORT",
        help="where the page listens instead of on loopback, as in a container: 0.0.0.0:8765",
    )
    parser.add_argument(
        "--chaos", type=int, nargs="?", const=0, metavar="SEED", help="then break things while members carry on"
    )
    parser.set_defaults(command=run)


def address(text: str) -> tuple[str, int]:
    """Return host and port. Raise ArgumentTypeError with a sentence for any other text."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 0.0.0.0:8765")
    return host, int(port)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, if its packages are installed."""
    require("demo", "The demo")
    from bot.demo.main import DemoOptions, run_demo

    return run_demo(
        DemoOptions(
            prompts=arguments.prompt,
            once=arguments.once,
            as_json=arguments.json,
            state=arguments.state,
            database_url=arguments.database_url,
            keep=arguments.keep,
            page=arguments.page,
            chaos=arguments.chaos,
        )
    )
