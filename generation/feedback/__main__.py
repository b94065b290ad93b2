"""`python -m generation.feedback ORDER.json`: the process that trains a candidate; a worker or a person starts it.

With `--watch-stdin` it ends when its stdin is closed, as when the worker that started it is killed: two processes never
train in one folder.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from generation.extras import MissingExtraError, require
from generation.printable import one_line

WATCH = "--watch-stdin"
USAGE = f"usage: python -m generation.feedback ORDER.json [{WATCH}]\n"


def main(arguments: list[str]) -> int:
    """Carry an order out; return 0, 1 with a sentence on stderr, or 2 for a wrong command line."""
    if not arguments or arguments[1:] not in ([], [WATCH]):
        sys.stderr.write(USAGE)
        return 2
    if WATCH in arguments:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    require("train", "Tuning")
    from generation.feedback.denoisers.families import FamilyError
    from generation.feedback.tuning.checkpoints import CheckpointError
    from generation.feedback.tuning.examples import ExamplesError
    from generation.feedback.tuning.handover import HandoverError
    from generation.feedback.tuning.order import Order
    from generation.feedback.tuning.process import carry_out, say
    from generation.models.weights import WeightsError
    from generation.render.memory import NoPipelineError

    try:
        if result := carry_out(Order.read(Path(arguments[0]))):
            say(result)
    except (
        CheckpointError, ExamplesError, FamilyError, HandoverError, NoPipelineError, WeightsError, OSError, ValueError,
    ) as error:  # fmt: skip
        sys.stderr.write(f"{one_line(error)}\n")  # it may quote a data set or a model of somebody else
        return 1
    return 0


def _end_with_stdin() -> None:
    """Wait until stdin is closed, and end the process at once: each file is written whole, or not at all."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except MissingExtraError as error:
        sys.stderr.write(f"{one_line(error)}\n")  # it may quote a data set or a model of somebody else
        raise SystemExit(1) from None
