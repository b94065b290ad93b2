"""The codec of batches: votes as the ledger reads them, 112 to a word, by seat. Pure functions, no chain.

A round's voters take seats 0, 1, 2 ... with their first vote. A batch is about one round: `arrivals` lists the voters
who take the next seats, eight 32-bit indices to a word; each of the `words` is

    place (10 bits) | slot (22 bits) | 112 choices of 2 bits, that of the lowest seat lowest

and says what the seats slot * 112 ... slot * 112 + 111 now choose about the round's item at that place: 0 leaves a
ballot as it is, 1 up, 2 down, 3 withdrawn; of a battle 1 A, 2 B, 3 tie. An item's number is round * 1024 + place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from eth_utils.crypto import keccak

SEATS = 112  # ballots in a word
MAX_WORDS = 256
MAX_ARRIVALS = 8 * MAX_WORDS
MAX_VOTER = 2**31 - 1
MAX_PLACE = 2**10 - 1
OWN_SEATS = SEATS * 2**21  # the first seat that only wallets get
EMPTY_DIGEST = bytes(32)
_WITHDRAWN = 3  # as a word has it


class BatchError(ValueError):
    """The ledger would not accept these words."""


class Ballot(NamedTuple):
    """One seat's choice about one item, as the ledger numbers them: 0 withdrawn, 1 up, 2 down; or 1 A, 2 B, 3 tie."""

    video: int
    seat: int
    choice: int


def number_of(round_number: int, place: int) -> int:
    """Return the number of the video or battle at a place of a round."""
    return round_number << 10 | place


def round_and_place(video: int) -> tuple[int, int]:
    """Return the round of a video or battle, and its place there, by its number."""
    return video >> 10, video & MAX_PLACE


def words_for(ballots: Iterable[Ballot]) -> int:
    """Return the number of words that `encode` makes of these ballots: one for each place and each 112 seats that they
    name.
    """
    return len({(round_and_place(ballot.video)[1], ballot.seat // SEATS) for ballot in ballots})


def encode(ballots: Iterable[Ballot], battles: Set[int] = frozenset()) -> list[int]:
    """Return the words that record these ballots, all of one round: of two about the same seat and video the later
    counts.

    `battles` names the numbers that are battles: a tie can be recorded there, a withdrawal cannot (`cast_signed` can).
    Raises BatchError for a ballot out of range, for two rounds, and for more than 256 words.
    """
    last: dict[tuple[int, int, int], int] = {}
    rounds: set[int] = set()
    for ballot in ballots:
        number, place = round_and_place(ballot.video)
        rounds.add(number)
        choices = (1, 2, 3) if ballot.video in battles else (0, 1, 2)
        if number < 1 or place < 1 or not 0 <= ballot.seat < OWN_SEATS or ballot.choice not in choices:
            raise BatchError(f"{ballot} cannot be written into a batch.")
        slot, seat = divmod(ballot.seat, SEATS)
        last[place, slot, seat] = ballot.choice or _WITHDRAWN
    if len(rounds) > 1:
        raise BatchError("A batch is about one round.")
    words: dict[tuple[int, int], int] = {}
    for (place, slot, seat), choice in last.items():
        words[place, slot] = words.get((place, slot), 0) | choice << 2 * seat
    if len(words) > MAX_WORDS:
        raise BatchError(f"{len(words)} words are more than the {MAX_WORDS} that a batch can hold.")
    return [place << 246 | slot << 224 | choices for (place, slot), choices in sorted(words.items())]


def decode(round_number: int, words: Iterable[int], battles: Set[int] = frozenset()) -> list[Ballot]:
    """Return the ballots of a batch, in order. Raises BatchError where the ledger itself would refuse the shape."""
    ballots: list[Ballot] = []
    for word in words:
        place, slot, choices = word >> 246, word >> 224 & 2**22 - 1, word & 2**224 - 1
        if not choices:
            raise BatchError("A word holds no choice.")
        if not place or slot * SEATS >= OWN_SEATS:
            raise BatchError("A word names no video, or seats that are not the relayer's.")
        video = number_of(round_number, place)
        for seat in range(SEATS):
            choice = choices >> 2 * seat & 3
            if choice:
                withdrawn = choice == _WITHDRAWN and video not in battles
                ballots.append(Ballot(video, slot * SEATS + seat, 0 if withdrawn else choice))
    if not ballots:
        raise BatchError("The batch is empty.")
    return ballots


def encode_arrivals(voters: Sequence[int]) -> list[int]:
    """Return the words that seat these voters, by their indices. Raises BatchError for one out of range, and for too
    many.
    """
    if len(voters) > MAX_ARRIVALS:
        raise BatchError(f"{len(voters)} arrivals are more than the {MAX_ARRIVALS} that a batch can hold.")
    if any(not 1 <= voter <= MAX_VOTER for voter in voters):
        raise BatchError("An arrival names no voter.")
    data = b"".join(voter.to_bytes(4, "big") for voter in voters)
    data += bytes(-len(data) % 32)
    return [int.from_bytes(data[start : start + 32], "big") for start in range(0, len(data), 32)]


def decode_arrivals(words: Sequence[int]) -> list[int]:
    """Return the voters who are seated, in order. Raises BatchError where the ledger itself would refuse the list."""
    data = b"".join(word.to_bytes(32, "big") for word in words)
    voters = [int.from_bytes(data[start : start + 4], "big") for start in range(0, len(data), 4)]
    while voters and not voters[-1]:
        voters.pop()
    if 0 in voters or len(words) != -(-len(voters) // 8):
        raise BatchError("The arrivals have a gap.")
    return voters


def next_digest(digest: bytes, round_number: int, arrivals: Sequence[int], words: Sequence[int]) -> bytes:
    """Return the ledger's rolling digest after a batch: keccak256(abi.encode(digest, round, arrivals, words))."""
    second = 128 + 32 * (1 + len(arrivals))
    numbers = [round_number, 128, second, len(arrivals), *arrivals, len(words), *words]
    return keccak(digest + b"".join(number.to_bytes(32, "big") for number in numbers))
