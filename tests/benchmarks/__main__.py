"""`make bench`: figures measured side by side in one run, as ratios, written to build/bench.json."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import clicks, commits, encode, gas, growth, page, relay, render, tiny, uploads
from tests.benchmarks.figures import Figure, show, write

Measure = Callable[..., Awaitable[list[Figure]]]
PARTS: dict[str, Measure] = {
    "commits": commits.measure,
    "growth": growth.measure,
    "gas": gas.measure,
    "relay": relay.measure,
    "clicks": clicks.measure,
    "render": render.measure,
    "tiny": tiny.measure,
    "encode": encode.measure,
    "uploads": uploads.measure,
    "page": page.measure,
}
# Numbers too small to say anything: they only show that everything can be measured. The page is left out, since
# tests/acceptance/test_page.py lives through a round on it.
SMALL: dict[str, dict[str, Any]] = {
    "commits": {"waiting": 20, "grouped": 200, "alone": 20},
    # All its operations run in tests/migrations/test_growth.py; two of them show that they can be measured.
    "growth": {
        "short": (2, 20),
        "long": (4, 40),
        "open_votes": 400,
        "repeats": 1,
        "again": 0,
        "only": [growth.BURST, growth.STANDINGS],
    },
    "gas": {"votes": 20, "videos": 3, "registry": 300},
    "relay": {
        "votes": 40,
        "members": 20,
        "seconds": 1,
        "flush_age_s": 0.5,
        "schedules": 1,
        "length": 3,
        "steps": ["after send"],
    },
    "clicks": {"clickers": 10, "bursts": 1, "renders": 8},
    "render": {"times": 1, "steps": 2, "queued": 3},
    "tiny": {"share": 0.01},
    "encode": {"frames": 5, "height": 64, "width": 96, "times": 1},
    "uploads": {"uploads": 2, "frames": 96},
}


async def main(only: list[str], *, small: bool) -> list[Figure]:
    """All figures, part by part; what each part took is told on stderr."""
    figures: list[Figure] = []
    for name, measure in PARTS.items():
        if (only and name not in only) or (small and name not in SMALL):
            continue
        begun = time.monotonic()
        figures += await measure(**(SMALL[name] if small else {}))
        sys.stderr.write(f"{name}: measured in {time.monotonic() - begun:.0f} s\n")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(PARTS), help="only this part; may be repeated")
    parser.add_argument("--small", action="store_true", help="tiny numbers, to see that it works")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    measured = asyncio.run(main(options.only or [], small=options.small))
    write(measured, options.out)
    show(measured)
    sys.stdout.write(f"written to {options.out}\n")
