"""`python -m generation.tiny`: copy the tiny pipeline into a folder, train it anew, measure it, draw a sheet of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from generation.extras import MissingExtraError, require
from generation.tiny.make import WEIGHTS, make_tiny_pipeline

USAGE = """\
usage: python -m generation.tiny FOLDER             copies the tiny pipeline there, and prints its revision
       python -m generation.tiny train [--rounds N] [FOLDER]
                                                    trains it anew, in 1 round (75 minutes on two cores) to 4 (an
                                                    hour more each), by which the weights in the repository were made
       python -m generation.tiny measure [FOLDER]   measures how well it follows prompts that it has not seen
       python -m generation.tiny sheet FILE.png     draws twelve prompts that it has not seen
"""


def _train(folder: list[str], rounds: int) -> None:
    require("worker", "Training the tiny model")
    from generation.tiny.training.train import train

    train(Path(*folder) if folder else WEIGHTS, rounds)


def main(arguments: list[str]) -> int:
    """Run a command, and return its exit status: 0, or 2 for a wrong command line."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # all files are here: no hub is asked
    match arguments:
        case ["train", "--rounds", rounds, *rest] if len(rest) < 2 and rounds in {"1", "2", "3", "4"}:
            _train(rest, int(rounds))
        case ["train", *rest] if len(rest) < 2 and rest[:1] != ["--rounds"]:
            _train(rest, 1)
        case ["measure", *rest] if len(rest) < 2:
            require("worker", "Measuring a model")
            from generation.tiny.training.measure import measure, show

            sys.stdout.write(show(measure(Path(*rest) if rest else WEIGHTS)) + "\n")
        case ["sheet", file]:
            require("worker", "The sheet")
            from generation.tiny.training.measure import sheet

            sheet(WEIGHTS, Path(file))
        case [folder] if folder not in {"train", "measure", "sheet"}:
            sys.stdout.write(make_tiny_pipeline(Path(folder)) + "\n")
        case _:
            sys.stderr.write(USAGE)
            return 2
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except (OSError, MissingExtraError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
