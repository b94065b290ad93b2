"""Gas figures of the ledger on a real EVM: `python tests/contracts/measure_gas.py`. Receipts' gas, 21,000 included.

`--write` keeps them as contracts/gas.json, to which the tests hold the contract. Every figure is the same in every run.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from contracts.ledger.batch_codec import Ballot, encode_arrivals  # found by the line above
from contracts.ledger.typed_data import ballot_message, link_message  # as above
from contracts.manifests import sides_hash  # as above
from tests.builders.accounts import member, sign  # as above
from tests.builders.ledger_bench import Bench  # as above

SNAPSHOT = Path(__file__).resolve().parents[2] / "contracts" / "gas.json"
HASHES = (b"p" * 32, b"c" * 32, b"o" * 32)
VIDEOS = 10


def used(receipt: dict[str, Any]) -> int:
    return int(receipt["gasUsed"], 16)


class Round:
    """A fresh round of some videos and a battle, and who sits where in it."""

    def __init__(self, bench: Bench, name: int, videos: int = VIDEOS) -> None:
        self.bench = bench
        self.number = bench.round(name.to_bytes(32, "big"))
        self.videos = [bench.video(self.number, (name << 16 | n).to_bytes(32, "big")) for n in range(1, videos + 1)]
        self.battle = bench.battle(self.number, (name << 16).to_bytes(32, "big"))
        self.seats: dict[int, int] = {}

    def vote(self, pairs: Sequence[tuple[int, int]], choose: Callable[[int], int] = lambda voter: 1 + voter % 2) -> int:
        """Gas of one batch: pairs of video and voter; who has no seat yet gets one, video by video."""
        arrivals = [voter for _, voter in sorted(pairs) if voter not in self.seats]
        arrivals = list(dict.fromkeys(arrivals))
        self.seats |= {voter: len(self.seats) + place for place, voter in enumerate(arrivals)}
        ballots = [Ballot(video, self.seats[voter], choose(voter)) for video, voter in pairs]
        return used(self.bench.vote(ballots, arrivals, [self.battle]))


def spread(videos: list[int], votes: int, registry: int) -> list[tuple[int, int]]:
    """So many different pairs of a video and a random voter."""
    draw = random.Random(7)  # noqa: S311  # the same voters in every run
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < votes:
        pairs[draw.choice(videos), draw.randint(1, registry)] = None
    return list(pairs)


def transactions(bench: Bench) -> Iterator[tuple[str, int]]:
    """Gas of whole transactions, each of the kind that is sent again and again; the first of all cost more."""
    yield "deployment", used(bench.deployed)
    Round(bench, 1, 1)
    opened = bench.do(bench.relayer, "open_round", b"2" * 32, bench.now, bench.now + 9, 9, b"m" * 32)
    yield "open_round", used(opened)
    bench.video(2)
    added = bench.do(bench.relayer, "add_video", b"3" * 32, 2, *HASHES, "0123456789abcdef")
    yield "add_video", used(added)
    yield "add_battle", used(bench.do(bench.relayer, "add_battle", b"4" * 32, 2, *HASHES, b"s" * 32))
    yield "close_round", used(bench.do(bench.relayer, "close_round", 2))
    yield "finalize_3_items", used(bench.do(bench.stranger, "finalize", 2))
    bench.do(bench.relayer, "commit", 1, b"1" * 32, 0, b"m" * 32)
    yield "commit", used(bench.do(bench.relayer, "commit", 2, b"2" * 32, 0, b"m" * 32))
    bench.voters(1000)
    named = [number.to_bytes(32, "big") for number in range(1001, 1257)]
    yield "register_a_voter", round(used(bench.do(bench.relayer, "register", named)) / 256)
    bench.link(1, member(1))
    told = ((2).to_bytes(32, "big"), 1, bench.now)
    signature = sign(member(2), link_message(bench.domain, member(2).address, *told))
    yield "link", used(bench.do(bench.relayer, "link", told[0], member(2).address, *told[1:], signature))
    there = Round(bench, 3)
    there.vote([(there.videos[0], 3)])  # the first batch of all also pays for seq and digest
    for name, wallet, nonce, choices in (
        ("signed_first", 1, 2, there.videos[:1]),
        ("signed_ballot_of_1", 2, 2, there.videos[:1]),
        ("signed_ballot_of_10", 1, 3, there.videos),
        ("signed_ballot_of_10_changed", 1, 4, there.videos),
    ):
        ballot = (there.number, [(video, 1 + nonce % 2) for video in choices], nonce, bench.now)
        address = member(wallet).address
        signature = sign(member(wallet), ballot_message(bench.domain, address, *ballot))
        yield name, used(bench.do(bench.stranger, "cast_signed", address, *ballot, signature))
    bench.link(3, member(3))
    yield "claim", used(bench.do(bench.stranger, "claim", there.number, 0, 0, encode_arrivals([3])))
    bench.now += 3600
    yield "finalize_11_items", used(bench.do(bench.stranger, "finalize", there.number))
    models = (b"1" * 32, b"2" * 32, b"s" * 32)
    fought = bench.round(b"5" * 32, seconds=9)
    battle = bench.battle(fought, b"6" * 32, sides_hash(*models))
    bench.now += 9
    yield "reveal_battle", used(bench.do(bench.stranger, "reveal_battle", battle, *models))


def voting(bench: Bench, sizes: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Gas a vote, by the number of votes in the batch; the bench has 1,256 voters, of whom 1 to 3 have wallets."""
    for size in sizes:
        dense = Round(bench, 100 + size, 2)
        everyone = range(4, size + 4)
        first = [(dense.videos[0], voter) for voter in everyone]
        yield f"dense_{size}", dense.vote(first) // size
        yield f"dense_{size}_changed", dense.vote(first, lambda voter: 2 - voter % 2) // size
        yield f"dense_{size}_withdrawn", dense.vote(first, lambda voter: 0) // size
        yield f"dense_{size}_seated", dense.vote([(dense.videos[1], voter) for voter in everyone]) // size
        battle = [(dense.battle, voter) for voter in everyone]
        yield f"battle_{size}_seated", dense.vote(battle, lambda voter: 1 + voter % 3) // size
        typical = Round(bench, 3000 + size)
        mine = [(video, voter + 3) for video, voter in spread(typical.videos, size, 1000)]
        yield f"typical_{size}", typical.vote(mine) // size
    bench.voters(8747, first=1257)
    for size in sizes:
        large = Round(bench, 6000 + size)
        pairs = [(video, voter + 3) for video, voter in spread(large.videos, size, 10_000)]
        yield f"registry_10000_{size}", large.vote(pairs) // size


def measure(sizes: Sequence[int] = (1, 10, 100, 500, 1000)) -> dict[str, int]:
    """Every figure: of whole transactions, and `votes_...` a vote."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        figures = dict(transactions(bench))
        figures |= {f"votes_{name}": gas for name, gas in voting(bench, sizes)}
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
