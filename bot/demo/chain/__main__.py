"""The embedded chain as a process: `python -m bot.demo.chain --state DIR`, JSON-RPC on a loopback port.

It speaks to any Ethereum client as a node does, and any node's URL works in its place. It is a **dev chain, not
immutable**: whoever owns its directory can rewrite it. `bot.demo.chain.server` serves the port and needs py-evm.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from bot.demo.faults import TOKEN_VARIABLE
from bot.demo.service import fail, run_service, service_parser


def main() -> int:
    """Run the process. Returns 0 once it was asked to stop, and 1, with a sentence, when it cannot start."""
    if find_spec("eth") is None:
        return fail("The embedded chain needs py-evm, which is not installed. Run: pip install 'flock[demo]'", 1)
    from bot.demo.chain.methods import NOTICE
    from bot.demo.chain.server import open_chain

    parser = service_parser("python -m bot.demo.chain", f"The embedded chain ({NOTICE}).")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; only a container needs another address")
    options = parser.parse_args()
    control_token = os.environ.get(TOKEN_VARIABLE, "")
    try:
        chain = open_chain(options.state, options.port, host=options.host, control_token=control_token)
        run_service(chain, watch_stdin=options.watch_stdin)
    except (OSError, ValueError) as error:
        return fail(f"The embedded chain could not start: {error}", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
