"""What a vote costs on chain: real transactions on a real EVM, by their receipts, 21,000 and calldata included."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from contracts.stream import Ballot, encode
from tests.benchmarks.figures import Figure
from tests.contracts.conftest import Bench

SEED = 20_261_123


async def measure(*, votes: int = 1_000, videos: int = 10) -> list[Figure]:
    """One batch each of so many first votes: all on one video; and of random members on random videos."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.do(bench.relayer, "open_round", b"r" * 32, bench.now, bench.now + 3600, b"m" * 32)
        hashes = (b"p" * 32, b"c" * 32, b"o" * 32, "0123456789abcdef")
        for number in range(1, videos + 3):
            bench.do(bench.relayer, "add_video", number.to_bytes(32, "big"), 1, *hashes)
        names = [number.to_bytes(32, "big") for number in range(1, votes + 1)]
        for start in range(0, votes, 256):
            bench.do(bench.relayer, "register", names[start : start + 256])
        first, second = videos + 1, videos + 2
        bench.vote(encode([Ballot(first, 1, 1)]))  # the first batch of all also pays for seq and digest
        dense = bench.vote(encode([Ballot(second, voter, 1 + voter % 2) for voter in range(1, votes + 1)]))
        pairs = [(video, voter) for video in range(1, videos + 1) for voter in range(1, votes + 1)]
        drawn = random.Random(SEED).sample(pairs, votes)  # noqa: S311  # drawn the same each time, on purpose
        typical = bench.vote(encode([Ballot(video, voter, 1 + voter % 2) for video, voter in sorted(drawn)]))
        bench.blocks.close()
    return [
        Figure(
            f"gas_per_vote_dense_{votes}",
            round(int(dense["gasUsed"], 16) / votes),
            f"{votes:,} members on one video, one batch",
            at_most=900,
        ),
        Figure(
            f"gas_per_vote_typical_{votes}",
            round(int(typical["gasUsed"], 16) / votes),
            f"random votes of {votes:,} members on {videos} videos, one batch",
            at_most=2_600,
        ),
    ]
