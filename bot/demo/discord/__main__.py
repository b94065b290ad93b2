"""`python -m bot.demo.discord`: the embedded Discord as a process. Prints one line of JSON when it is ready."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from generation.extras import MissingExtraError, require

if TYPE_CHECKING:
    from bot.demo.discord.server import DiscordConfig

TOKENS = ("FLOCK_DEMO_BOT_TOKEN", "FLOCK_DEMO_CONTROL_TOKEN")


async def serve(config: DiscordConfig, *, watch_stdin: bool = False) -> None:
    """Runs until SIGTERM or SIGINT, or until stdin is closed where that is our parent's pipe."""
    from bot.demo.discord.server import EmbeddedDiscord

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_stdin:

        def wait() -> None:
            while os.read(0, 4096):
                pass
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait, daemon=True, name="stdin").start()
    server = EmbeddedDiscord(config)
    await server.start()
    sys.stdout.write(json.dumps({"ready": True, "port": server.port}) + "\n")
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await server.close()


def main() -> None:
    """The tokens come by the environment, never by the command line, which other users can read."""
    try:
        require("demo", "The embedded Discord")
    except MissingExtraError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
    from bot.demo.discord.interactions import ANSWER_S, TOKEN_S
    from bot.demo.discord.server import DiscordConfig
    from bot.demo.discord.world import WorldError

    parser = argparse.ArgumentParser(prog="python -m bot.demo.discord")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, help="folder that keeps the world")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input is closed")
    parser.add_argument("--answer-s", type=float, default=ANSWER_S, help="seconds for an interaction's first answer")
    parser.add_argument("--token-s", type=float, default=TOKEN_S, help="seconds until an interaction's token expires")
    parser.add_argument("--heartbeat-s", type=float, default=41.25, help="seconds between two heartbeats")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    missing = [name for name in TOKENS if not os.environ.get(name)]
    if missing:
        sys.stderr.write(f"{' and '.join(missing)} must be set.\n")
        raise SystemExit(2)
    bot_token, control_token = (os.environ[name] for name in TOKENS)
    try:
        config = DiscordConfig(
            state=options.state,
            bot_token=bot_token,
            control_token=control_token,
            port=options.port,
            answer_s=options.answer_s,
            token_s=options.token_s,
            heartbeat_s=options.heartbeat_s,
        )
        asyncio.run(serve(config, watch_stdin=options.watch_stdin))
    except (OSError, ValueError, WorldError) as error:
        sys.stderr.write(f"The embedded Discord could not start: {error}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
