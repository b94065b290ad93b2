"""The embedded chain as a process: `python -m bot.demo.chain --port 0 --state DIR`, JSON-RPC on a loopback port.

It speaks to any Ethereum client as a node does, and any node's URL works in its place. It is a **dev chain, not
immutable**: whoever owns its directory can rewrite it. Its port is `bot.demo.chain.server`, which needs py-evm.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from bot.demo.faults import TOKEN_VARIABLE


def main() -> None:
    """The process: exits 0 when it is asked to stop, and 1 with a sentence when it cannot start."""
    if find_spec("eth") is None:
        raise SystemExit("The embedded chain needs py-evm, which is not installed. Run: pip install 'flock[demo]'")
    from bot.demo.chain.methods import NOTICE
    from bot.demo.chain.server import serve

    parser = argparse.ArgumentParser(prog="python -m bot.demo.chain", description=f"The embedded chain ({NOTICE}).")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; only a container needs another address")
    parser.add_argument("--state", type=Path, required=True, help="directory that keeps blocks and key")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input is closed")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        asyncio.run(
            serve(
                options.state,
                options.port,
                host=options.host,
                watch_stdin=options.watch_stdin,
                control_token=os.environ.get(TOKEN_VARIABLE, ""),
            )
        )
    except (OSError, ValueError) as error:
        sys.stderr.write(f"The embedded chain could not start: {error}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
