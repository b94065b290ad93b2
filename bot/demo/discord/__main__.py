"""The embedded Discord as a process: `python -m bot.demo.discord --state DIR`. Prints one line of JSON when ready."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bot.demo.service import ReadyLine, fail, run_service, service_parser
from generation.extras import MissingExtraError, require

if TYPE_CHECKING:
    from bot.demo.discord.server import DiscordConfig

# The tokens come by the environment, never by the command line, which other users can read.
TOKENS = ("FLOCK_DEMO_BOT_TOKEN", "FLOCK_DEMO_CONTROL_TOKEN")
_PURPOSE = f"A small Discord on this machine. The tokens of the bot and of the control plane: {' and '.join(TOKENS)}."


@asynccontextmanager
async def _open(config: DiscordConfig) -> AsyncIterator[ReadyLine]:
    from bot.demo.discord.server import EmbeddedDiscord

    server = EmbeddedDiscord(config)
    await server.start()
    try:
        yield {"ready": True, "port": server.port}
    finally:
        await server.close()


def main() -> int:
    """Run the process. Returns 0 once it was asked to stop, and 1 or 2, with a sentence, when it cannot start."""
    try:
        require("demo", "The embedded Discord")
    except MissingExtraError as error:
        return fail(str(error), 1)
    from bot.demo.discord.interactions import ANSWER_S, TOKEN_S
    from bot.demo.discord.server import DiscordConfig
    from bot.demo.discord.world import People, WorldError

    parser = service_parser("python -m bot.demo.discord", _PURPOSE)
    parser.add_argument("--answer-s", type=float, default=ANSWER_S, help="seconds for an interaction's first answer")
    parser.add_argument("--token-s", type=float, default=TOKEN_S, help="seconds until an interaction's token expires")
    parser.add_argument("--heartbeat-s", type=float, default=41.25, help="seconds between two heartbeats")
    parser.add_argument("--crowd", type=int, default=0, help="so many members more, who joined a month ago")
    options = parser.parse_args()
    missing = [name for name in TOKENS if not os.environ.get(name)]
    if missing:
        return fail(f"{' and '.join(missing)} must be set.", 2)
    bot_token, control_token = (os.environ[name] for name in TOKENS)
    try:
        config = DiscordConfig(
            state=options.state,
            bot_token=bot_token,
            control_token=control_token,
            port=options.port,
            people=People.with_crowd(options.crowd),
            answer_s=options.answer_s,
            token_s=options.token_s,
            heartbeat_s=options.heartbeat_s,
        )
        run_service(_open(config), watch_stdin=options.watch_stdin)
    except (OSError, ValueError, WorldError) as error:
        return fail(f"The embedded Discord could not start: {error}", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
