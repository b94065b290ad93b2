"""The estimate of a round's cost: it adds up, more of anything costs more, and a real round comes close to it."""

from __future__ import annotations

import random
import zlib

import pytest
from eth_utils.crypto import keccak

from contracts.costs import (
    ARBITRUM_DATA_FEES,
    ARBITRUM_DATA_GAS_A_BYTE,
    BATTLE_BYTES,
    CLOSE_BYTES,
    COMMIT_BYTES,
    FINALIZE_BYTES,
    OPEN_BYTES,
    REVEAL_BYTES,
    TRANSACTION_BYTES,
    VIDEO_BYTES,
    VOTE_BYTES,
    VOTER_BYTES,
    Community,
    costs,
    measured,
    on_arbitrum,
)
from contracts.ledger import calldata
from contracts.ledger.batch_codec import Ballot, encode, encode_arrivals, number_of
from contracts.units import COIN
from tests.builders.ledger_bench import START
from tests.contracts.measure_gas import spread


def gas(**community: int) -> int:
    return sum(cost.gas for cost in costs(Community(**community), measured()))


def test_a_round_is_the_sum_of_its_transactions() -> None:
    """Each kind once, in the order in which it is done; who is registered already costs nothing again."""
    told = costs(Community(), measured())
    assert [(cost.what, cost.count) for cost in told] == [
        ("open the round", 1),
        ("add a video", 10),
        ("register new voters", 4),
        ("record votes", 4),
        ("close the round", 1),
        ("finalize the round", 1),
    ]
    old = costs(Community(new_voters=0), measured())
    assert [cost for cost in told if cost.what != "register new voters"] == old


@pytest.mark.parametrize("more", [{"videos": 11}, {"votes": 2001}, {"new_voters": 999}, {"batch": 499}])
def test_more_costs_more(more: dict[str, int]) -> None:
    """More videos and votes, smaller batches; fewer new voters cost less."""
    assert (gas(**more) > gas()) is ("new_voters" not in more)


def test_a_round_with_battles_is_followed_by_reveals_and_commitments() -> None:
    """Each battle is entered and revealed; a data set and a release may come of it. Without battles there are none."""
    told = {cost.what: cost for cost in costs(Community(battles=100), measured())}
    assert [told[what].count for what in ("add a battle", "reveal a battle", "make a commitment")] == [100, 100, 2]
    plain = {cost.what: cost for cost in costs(Community(), measured())}
    assert told["finalize the round"].gas > plain["finalize the round"].gas
    assert set(told) - set(plain) == {"add a battle", "reveal a battle", "make a commitment"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"videos": 0}, "at least one video"),
        ({"voters": 10, "new_voters": 11, "votes": 10}, "more new voters than voters"),
        ({"voters": 1000, "votes": 999}, "at least as many votes as voters"),
        ({"batch": 1001}, "at most 1,000 votes"),
        ({"battles": 1014}, "at most 1,023 videos and battles"),
    ],
)
def test_a_round_that_cannot_be_is_a_sentence(wrong: dict[str, int], words: str) -> None:
    """Each names what to give instead."""
    with pytest.raises(ValueError, match=words):
        Community(**wrong)


def test_the_curve_goes_through_what_was_measured() -> None:
    """At the measured sizes of a batch the estimate is the measured figure."""
    figures = measured()
    for size in (10, 100, 500, 1000):
        [votes] = [cost for cost in costs(Community(batch=size), figures) if cost.what == "record votes"]
        assert votes.gas == pytest.approx(2000 * figures[f"votes_typical_{size}"], rel=1e-9)


def test_arbitrum_on_paper_is_a_range() -> None:
    """Data costs more on a busy day; both are fractions of a cent a vote at today's prices."""
    told = costs(Community(), measured())
    quiet, busy = on_arbitrum(told)
    assert 0 < quiet < busy < 2000 * 1e-5
    data = sum(cost.data_bytes for cost in told) * ARBITRUM_DATA_GAS_A_BYTE
    least, most = ARBITRUM_DATA_FEES
    assert busy - quiet == pytest.approx(data * (most - least) / COIN)


def test_every_kind_of_transaction_has_its_data() -> None:
    """The largest part of it names new voters, by far: their pseudonyms do not compress, and votes do."""
    told = {cost.what: cost.data_bytes for cost in costs(Community(), measured())}
    assert min(told.values()) > TRANSACTION_BYTES
    assert told["register new voters"] > 5 * told["record votes"]
    assert told["add a video"] == 10 * (VIDEO_BYTES + TRANSACTION_BYTES)
    assert "register new voters" not in {cost.what for cost in costs(Community(new_voters=0), measured())}


def test_the_bytes_are_those_of_real_calldata() -> None:
    """Each assumption is within a tenth of what the compressor makes of the calldata that the relayer sends."""
    named = [keccak(number.to_bytes(2, "big")) for number in range(256)]
    for assumed, data, count in (
        (OPEN_BYTES, calldata.open_round(named[0], START, START + 86_400, 600, named[1]), 1),
        (VIDEO_BYTES, calldata.add_video(named[0], 7, *named[1:4], "abcdef0123456789"), 1),
        (VOTER_BYTES, calldata.register(named), 256),
        (BATTLE_BYTES, calldata.add_battle(named[0], 7, *named[1:5]), 1),
        (REVEAL_BYTES, calldata.reveal_battle(number_of(7, 5), *named[1:4]), 1),
        (COMMIT_BYTES, calldata.commit(2, named[0], 3, named[1]), 1),
        (CLOSE_BYTES, calldata.close_round(7), 1),
        (FINALIZE_BYTES, calldata.finalize(7), 1),
        *((VOTE_BYTES[size], batch(size), size) for size in VOTE_BYTES),
    ):
        assert assumed == pytest.approx(len(zlib.compress(data, 1)) / count, rel=0.1)


def batch(size: int) -> bytes:
    """Calldata of so many votes, of a thousand members on ten videos, all of whom take their seats in it."""
    pairs = spread([number_of(1, place) for place in range(1, 11)], size, 1000)
    seats = {voter: seat for seat, voter in enumerate(dict.fromkeys(voter for _, voter in sorted(pairs)))}
    draw = random.Random(3)  # noqa: S311  # the same votes in every run
    ballots = [Ballot(video, seats[voter], draw.choice((1, 2))) for video, voter in pairs]
    return calldata.batch(5, 1, encode_arrivals(list(seats)), encode(ballots))
