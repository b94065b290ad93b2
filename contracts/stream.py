"""The batch stream: votes as the ledger reads them, 32 bits each, eight to a word. Pure functions, no chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eth_utils.crypto import keccak

MAX_WORDS = 256
MAX_ENTRIES = 8 * MAX_WORDS
MAX_VIDEO = 2**31 - 1
MAX_VOTER = 2**29 - 1
EMPTY_DIGEST = bytes(32)


class StreamError(ValueError):
    """The stream is not one that the ledger would take."""


class Ballot(NamedTuple):
    """One voter's choice about one video, in the ledger's numbers: 0 withdrawn, 1 up, 2 down."""

    video: int
    voter: int
    choice: int


def _entries(ballots: Iterable[Ballot]) -> Iterator[int]:
    video = None
    for ballot in ballots:
        if not 1 <= ballot.video <= MAX_VIDEO or not 1 <= ballot.voter <= MAX_VOTER or ballot.choice not in (0, 1, 2):
            raise StreamError(f"{ballot} cannot be written into a batch.")
        if ballot.video != video:
            video = ballot.video
            yield 1 << 31 | video
        yield ballot.voter << 2 | ballot.choice


def encode(ballots: Iterable[Ballot]) -> list[int]:
    """The words of a batch, in the order given: sort by video and voter first, so that slots are touched once.

    Raises StreamError for a ballot out of range, and for more than 256 words.
    """
    listed = list(_entries(ballots))
    if len(listed) > MAX_ENTRIES:
        raise StreamError(f"{len(listed)} entries are more than a batch of {MAX_ENTRIES} can hold.")
    listed += [0] * (-len(listed) % 8)
    return [
        int.from_bytes(b"".join(entry.to_bytes(4, "big") for entry in listed[start : start + 8]), "big")
        for start in range(0, len(listed), 8)
    ]


def decode(words: Iterable[int]) -> list[Ballot]:
    """The ballots of a batch, in order. Raises StreamError where the ledger itself would refuse the shape."""
    ballots: list[Ballot] = []
    video = 0
    for word in words:
        data = word.to_bytes(32, "big")
        listed = [int.from_bytes(data[start : start + 4], "big") for start in range(0, 32, 4)]
        for place, entry in enumerate(listed):
            if entry == 0:
                if any(listed[place:]):
                    raise StreamError("An entry follows the padding of its word.")
                break
            if entry >> 31:
                video = entry & MAX_VIDEO
                if video == 0:
                    raise StreamError("A header names no video.")
                continue
            voter, choice = entry >> 2, entry & 3
            if video == 0:
                raise StreamError("A vote comes before the first header.")
            if voter == 0 or choice == 3:
                raise StreamError("A vote names no voter or no choice.")
            ballots.append(Ballot(video, voter, choice))
    if video == 0:
        raise StreamError("The batch has no header.")
    return ballots


def next_digest(digest: bytes, words: list[int]) -> bytes:
    """The ledger's rolling digest after these words: keccak256(abi.encode(digest, words))."""
    head = digest + (64).to_bytes(32, "big") + len(words).to_bytes(32, "big")
    return keccak(head + b"".join(word.to_bytes(32, "big") for word in words))
