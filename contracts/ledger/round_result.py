"""The result of a finalized round as the ledger itself has it: the last word, whatever a database has counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.ledger.client import Ledger, Tally, gather
from contracts.rpc.node import ChainUnreachableError


@dataclass(frozen=True)
class Result:
    """The winning video's number, 0 where nobody holds a vote, and the tally of each video by its number."""

    winner: int
    tallies: Mapping[int, Tally]


async def result_of(ledger: Ledger, round_number: int, video_numbers: Sequence[int]) -> Result:
    """Return the winner of a final round, and the tallies of these videos of it.

    Raises ChainUnreachableError where the node does not answer, or does not know yet that the round is final.
    """
    info = await ledger.round_info(round_number)
    if not info.final:
        raise ChainUnreachableError(
            f"The chain's node is behind: it does not know yet that round {round_number} is final; waiting for it."
        )
    tallies = await gather(ledger.tally, video_numbers)
    return Result(info.winner, dict(zip(video_numbers, tallies, strict=True)))
