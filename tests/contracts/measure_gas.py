"""Gas figures of the ledger on a real EVM: `python tests/contracts/measure_gas.py`. Receipts' gas, 21,000 included.

`--write` keeps them as contracts/gas.json, to which the tests hold the contract. Every figure is the same in every run.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from contracts.stream import Ballot  # found by the line above
from tests.contracts.conftest import Bench  # as above

SNAPSHOT = Path(__file__).resolve().parents[2] / "contracts" / "gas.json"
HASHES = (b"p" * 32, b"c" * 32, b"o" * 32)
VIDEOS = 10


def used(receipt: dict[str, Any]) -> int:
    return int(receipt["gasUsed"], 16)


class Round:
    """A fresh round of ten videos, and who sits where in it."""

    def __init__(self, bench: Bench, name: int, videos: int = VIDEOS) -> None:
        self.bench = bench
        self.number = bench.round(name.to_bytes(32, "big"))
        self.videos = [bench.video(self.number, (name << 16 | n).to_bytes(32, "big")) for n in range(1, videos + 1)]
        self.seats: dict[int, int] = {}

    def vote(self, pairs: list[tuple[int, int]], choose: Callable[[int], int] = lambda voter: 1 + voter % 2) -> float:
        """Gas a vote of one batch: pairs of video and voter; who has no seat yet gets one, video by video."""
        arrivals = [voter for _, voter in sorted(pairs) if voter not in self.seats]
        arrivals = list(dict.fromkeys(arrivals))
        self.seats |= {voter: len(self.seats) + place for place, voter in enumerate(arrivals)}
        ballots = [Ballot(video, self.seats[voter], choose(voter)) for video, voter in pairs]
        return used(self.bench.vote(ballots, arrivals)) / len(pairs)


def spread(videos: list[int], votes: int, registry: int) -> list[tuple[int, int]]:
    """So many different pairs of a video and a random voter."""
    draw = random.Random(7)  # noqa: S311  # the same voters in every run
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < votes:
        pairs[draw.choice(videos), draw.randint(1, registry)] = None
    return list(pairs)


def voting(bench: Bench) -> Iterator[tuple[str, float]]:
    """Gas a vote, by the number of votes in the batch."""
    bench.voters(1000)
    Round(bench, 1, 1).vote([(1 << 10 | 1, 1)])  # the first batch of all also pays for seq and digest
    for size in (1, 10, 100, 500, 1000):
        dense = Round(bench, 100 + size, 2)
        everyone = range(1, size + 1)
        yield f"dense_{size}", dense.vote([(dense.videos[0], voter) for voter in everyone])
        yield f"dense_{size}_changed", dense.vote([(dense.videos[0], voter) for voter in everyone], lambda v: 2 - v % 2)
        yield f"dense_{size}_seated", dense.vote([(dense.videos[1], voter) for voter in everyone])
    for size in (10, 100, 500, 1000):
        typical = Round(bench, 2000 + size)
        yield f"typical_{size}", typical.vote(spread(typical.videos, size, 1000))
    bench.voters(9000, first=1001)
    for size in (10, 100, 500, 1000):
        large = Round(bench, 4000 + size)
        yield f"registry_10000_{size}", large.vote(spread(large.videos, size, 10_000))


def measure() -> dict[str, int]:
    """Every figure, rounded: of whole transactions, and `votes_...` a vote."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        figures = {"deployment": used(bench.deployed)}
        bench.round()
        opened = bench.do(bench.relayer, "open_round", b"2" * 32, bench.now, bench.now + 9, 9, b"m" * 32)
        figures["open_round"] = used(opened)
        bench.video(2)
        added = bench.do(bench.relayer, "add_video", b"3" * 32, 2, *HASHES, "0123456789abcdef")
        figures["add_video"] = used(added)
        fought = bench.do(bench.relayer, "add_battle", b"4" * 32, 2, *HASHES, b"s" * 32)
        figures["add_battle"] = used(fought)
        bench.voters(256, first=20_001)
        named = [number.to_bytes(32, "big") for number in range(20_257, 20_513)]
        figures["register_a_voter"] = round(used(bench.do(bench.relayer, "register", named)) / 256)
        bench.do(bench.relayer, "close_round", 2)
        figures["finalize_3_items"] = used(bench.do(bench.stranger, "finalize", 2))
        bench.do(bench.relayer, "commit", 1, b"1" * 32, 0, b"m" * 32)
        figures["commit"] = used(bench.do(bench.relayer, "commit", 2, b"2" * 32, 0, b"m" * 32))
        bench.blocks.close()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        figures |= {f"votes_{name}": round(gas) for name, gas in voting(bench)}
        bench.blocks.close()
    return figures


def main() -> None:
    figures = measure()
    for name, gas in figures.items():
        sys.stdout.write(f"{name:<30}{gas:>10,}\n")
    if "--write" in sys.argv:
        SNAPSHOT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
