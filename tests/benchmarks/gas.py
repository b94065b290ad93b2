"""What a vote costs on chain: real transactions on a real EVM, by their receipts, 21,000 and calldata included."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.contracts.conftest import Bench
from tests.contracts.measure_gas import Round, spread

REGISTRY = 10_000


async def measure(*, votes: int = 1_000, videos: int = 10, registry: int = REGISTRY) -> list[Figure]:
    """One batch each of so many first votes: all on one video; of random members; of random ones of a large registry.

    Each in a round of its own, so that every voter takes a seat in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.voters(votes)
        Round(bench, 1, 1).vote([(1 << 10 | 1, 1)])  # the first batch of all also pays for seq and digest
        round_ = Round(bench, 2, 1)
        dense = round_.vote([(round_.videos[0], voter) for voter in range(1, votes + 1)])
        round_ = Round(bench, 3, videos)
        typical = round_.vote(spread(round_.videos, votes, votes))
        bench.voters(registry - votes, first=votes + 1)
        round_ = Round(bench, 4, videos)
        large = round_.vote(spread(round_.videos, votes, registry))
        bench.blocks.close()
    return [
        Figure(f"gas_per_vote_dense_{votes}", round(dense), f"{votes:,} members on one video, one batch", at_most=900),
        Figure(
            f"gas_per_vote_typical_{votes}",
            round(typical),
            f"random votes of {votes:,} members on {videos} videos, one batch",
            at_most=2_600,
        ),
        Figure(
            f"gas_per_vote_registry_{registry}",
            round(large),
            f"{votes:,} random votes of {registry:,} members on {videos} videos, one batch",
            at_most=3_000,
        ),
    ]
