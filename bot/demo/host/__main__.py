"""The embedded video host as a process: `python -m bot.demo.host --state DIR`. Prints one line of JSON when ready.

The key that its clients need comes from the environment: FLOCK_DEMO_LIVEPEER_KEY.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.demo.faults import TOKEN_VARIABLE
from bot.demo.host.config import HostConfig
from bot.demo.host.server import EmbeddedHost
from bot.demo.service import ReadyLine, fail, run_service, service_parser
from generation.extras import MissingExtraError, require

KEY_VARIABLE = "FLOCK_DEMO_LIVEPEER_KEY"
SHORTEST_S = 3.0  # a shorter video fails, as reported of Livepeer
_PURPOSE = f"A video host on this machine that speaks like Livepeer. The key that clients need is in {KEY_VARIABLE}."


@asynccontextmanager
async def _open(host: EmbeddedHost) -> AsyncIterator[ReadyLine]:
    async with host:
        yield {"ready": True, "port": host.port}


def main() -> int:
    """Run the process. Returns 0 once it was asked to stop, and 2, with a sentence on stderr, when it cannot start."""
    parser = service_parser("python -m bot.demo.host", _PURPOSE)
    parser.add_argument("--bind", default="127.0.0.1", help="the address to listen on; loopback by default")
    parser.add_argument("--public-url", help="what addresses begin with, where a proxy stands before the host")
    parser.add_argument("--back-url", default="", help="where the watch page's way back leads; none by default")
    parser.add_argument("--haste", type=float, default=HostConfig.haste, help="divides Livepeer's delays")
    options = parser.parse_args()
    try:
        require("demo", "The embedded video host")
        if not (options.haste > 0 and 0 <= options.port <= 65535):
            raise ValueError("--haste must be above 0, and --port between 0 and 65535.")
        host = EmbeddedHost(
            options.state,
            os.environ.get(KEY_VARIABLE, ""),
            port=options.port,
            bind=options.bind,
            public_url=options.public_url,
            config=HostConfig(haste=options.haste, fail_shorter_than_s=SHORTEST_S, back_url=options.back_url),
            control_token=os.environ.get(TOKEN_VARIABLE, ""),
        )
        run_service(_open(host), watch_stdin=options.watch_stdin)
    except MissingExtraError as error:
        return fail(str(error), 2)
    except BlockingIOError:
        return fail(f"Another video host already runs in {options.state}. Stop it, or choose another --state.", 2)
    except ValueError as error:
        remedy = f" Set {KEY_VARIABLE} to the key that clients will use." if "key" in str(error) else ""
        return fail(f"{error}{remedy}", 2)
    except OSError as error:
        return fail(f"The video host cannot start: {error.strerror or error}.", 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
