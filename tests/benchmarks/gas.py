"""What a vote costs on chain: real transactions on a real EVM, by their receipts, 21,000 and calldata included."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.contracts.conftest import Bench
from tests.contracts.measure_gas import Round, spread


async def measure(*, votes: int = 1_000, videos: int = 10, registry: int = 10_000) -> list[Figure]:
    """One batch each of so many first votes: all on one video; of random members on random videos; of few among many.

    All of the voters are registered before; they take their seats in the round within the batch that is measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.voters(votes)
        Round(bench, 1, 1).vote([(1025, 1)])  # the first batch of all also pays for seq and digest
        one = Round(bench, 2, 1)
        dense = one.vote([(one.videos[0], voter) for voter in range(1, votes + 1)])
        some = Round(bench, 3, videos)
        typical = some.vote(spread(some.videos, votes, votes))
        bench.voters(registry - votes, first=votes + 1)
        many = Round(bench, 4, videos)
        scattered = many.vote(spread(many.videos, votes, registry))
        bench.blocks.close()
    return [
        Figure(
            f"gas_per_vote_dense_{votes}",
            round(dense / votes),
            f"{votes:,} members on one video, one batch",
            at_most=900,
        ),
        Figure(
            f"gas_per_vote_typical_{votes}",
            round(typical / votes),
            f"random votes of {votes:,} members on {videos} videos, one batch",
            at_most=2_600,
        ),
        Figure(
            f"gas_per_vote_registry_{registry}",
            round(scattered / votes),
            f"{votes:,} random votes out of {registry:,} members on {videos} videos, one batch",
            at_most=3_000,
        ),
    ]
