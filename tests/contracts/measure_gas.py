"""Gas figures of the ledger on a real EVM: `python tests/contracts/measure_gas.py`. Receipts' gas, 21,000 included."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from contracts.stream import Ballot, encode  # found by the line above
from tests.contracts.conftest import Bench  # as above


def used(receipt: dict[str, str]) -> int:
    return int(receipt["gasUsed"], 16)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        say(f"deployment            {used(bench.deployed):>10,}")
        opened = bench.do(bench.relayer, "open_round", b"r" * 32, bench.now, bench.now + 3600, b"m" * 32)
        say(f"open_round            {used(opened):>10,}")
        hashes = (b"p" * 32, b"c" * 32, b"o" * 32, "0123456789abcdef")
        added = [bench.do(bench.relayer, "add_video", bytes([n]) * 32, 1, *hashes) for n in range(1, 9)]
        say(f"add_video             {used(added[1]):>10,}")
        named = [number.to_bytes(32, "big") for number in range(1, 1025)]
        registered = [bench.do(bench.relayer, "register", named[start : start + 256]) for start in range(0, 1024, 256)]
        say(f"register, a voter     {used(registered[1]) / 256:>10,.0f}")
        bench.vote(encode([Ballot(8, 1, 1)]))  # the first batch of all also pays for seq and digest
        for place, size in enumerate((1, 10, 100, 500, 1000), start=1):
            new = bench.vote(encode([Ballot(place, voter, 1 + voter % 2) for voter in range(1, size + 1)]))
            changed = bench.vote(encode([Ballot(place, voter, 2 - voter % 2) for voter in range(1, size + 1)]))
            say(f"{size:>5} votes, dense     {used(new) / size:>10,.0f} a vote; changed {used(changed) / size:>8,.0f}")
        bench.do(bench.relayer, "close_round", 1)
        say(f"finalize, 8 videos    {used(bench.do(bench.stranger, 'finalize', 1)):>10,}")
        bench.blocks.close()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
