"""The contract's rules, each with its negative twin, on a real EVM."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from bot.demo.chain.blocks import Call
from contracts.audit.replay import MAX_GRACE
from contracts.compile import SOURCE
from contracts.ledger.artifact import ARTEFACT
from contracts.ledger.batch_codec import OWN_SEATS, Ballot, encode, encode_arrivals, next_digest
from contracts.ledger.typed_data import ballot_message
from contracts.manifests import sides_hash
from tests.builders.accounts import member, sign
from tests.builders.ledger_bench import CODEC, refused

MODELS = (b"A" * 32, b"B" * 32, b"salt" * 8)
SIDES = sides_hash(*MODELS)


def word(place: int, slot: int, choices: int) -> int:
    """A word as an attacker would write it."""
    return place << 246 | slot << 224 | choices


def arrival(*voters: int) -> int:
    """A word of arrivals as an attacker would write it: eight numbers, from the left."""
    return sum(voter << 224 - 32 * at for at, voter in enumerate(voters))


# --------------------------------------------------------------------- roles


def test_the_deployment_hands_out_the_three_roles_and_says_so(bench: Any) -> None:
    """Owner, guardian and relayer are those that were named, not the account that paid."""
    assert bench.read("owner") == bench.owner.address.lower()
    assert bench.read("guardian") == bench.guardian.address.lower()
    assert bench.read("is_relayer", bench.relayer.address) is True
    assert bench.read("is_relayer", bench.owner.address) is False
    assert [name for name, _ in bench.events(bench.deployed)] == ["OwnershipTransferred", "GuardianSet", "RelayerSet"]


def test_ownership_passes_in_two_steps(bench: Any) -> None:
    """The new owner owns nothing until it accepts; then the old one owns nothing."""
    started = bench.do(bench.owner, "transfer_ownership", bench.stranger.address)
    assert bench.events(started)[0][0] == "OwnershipTransferStarted"
    assert bench.read("owner") == bench.owner.address.lower()
    taken = bench.do(bench.stranger, "accept_ownership")
    assert bench.events(taken) == [
        ("OwnershipTransferred", {"previous_owner": bench.owner.address, "new_owner": bench.stranger.address})
    ]
    assert bench.read("owner") == bench.stranger.address.lower()
    assert refused(bench.do, bench.owner, "set_relayer", bench.owner.address, True) == "ledger: not the owner"
    assert refused(bench.do, bench.stranger, "accept_ownership") == "ledger: not the pending owner"


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("transfer_ownership", ["0x" + "11" * 20]),
        ("set_relayer", ["0x" + "11" * 20, True]),
        ("set_guardian", ["0x" + "11" * 20]),
        ("unpause", []),
    ],
)
def test_only_the_owner_changes_roles(bench: Any, function: str, args: list[Any]) -> None:
    """Relayer, guardian and strangers are refused."""
    for who in (bench.relayer, bench.guardian, bench.stranger):
        assert refused(bench.do, who, function, *args) == "ledger: not the owner"


def test_a_relayer_writes_until_it_is_revoked(bench: Any) -> None:
    """The same account is refused after `set_relayer(..., False)`, and the new one is taken."""
    bench.round()
    bench.do(bench.owner, "set_relayer", bench.relayer.address, False)
    changed = bench.do(bench.owner, "set_relayer", bench.stranger.address, True)
    assert bench.events(changed) == [("RelayerSet", {"relayer": bench.stranger.address, "allowed": True})]
    again = ("open_round", b"2" * 32, bench.now, bench.now + 9, 0, b"m" * 32)
    assert refused(bench.do, bench.relayer, *again) == "ledger: not a relayer"
    bench.do(bench.stranger, *again)


def test_the_guardian_stops_every_writing_and_only_the_owner_resumes_it(bench: Any) -> None:
    """While paused nothing is written, not even a result; afterwards everything goes on."""
    number = bench.round()
    video = bench.video(number)
    bench.voters(1)
    assert refused(bench.do, bench.stranger, "pause") == "ledger: not the guardian"
    paused = bench.do(bench.guardian, "pause")
    assert bench.events(paused) == [("PauseSet", {"by": bench.guardian.address, "paused": True})]
    assert refused(bench.do, bench.guardian, "pause") == "ledger: paused"
    writings = [
        ("open_round", b"2" * 32, bench.now, bench.now + 9, 0, b"m" * 32),
        ("add_video", b"2" * 32, number, b"p" * 32, b"c" * 32, b"o" * 32, "x"),
        ("register", [b"9" * 32]),
        ("add_battle", b"3" * 32, number, b"p" * 32, b"a" * 32, b"b" * 32, SIDES),
        ("batch", 0, number, encode_arrivals([1]), encode([Ballot(video, 0, 1)])),
        ("commit", 1, b"d" * 32, 0, b"m" * 32),
        ("close_round", number),
        ("finalize", number),
        ("reveal_battle", video + 2, *MODELS),
    ]
    for writing in writings:
        assert refused(bench.do, bench.relayer, *writing) == "ledger: paused"
    assert refused(bench.do, bench.guardian, "unpause") == "ledger: not the owner"
    bench.do(bench.owner, "unpause")
    assert refused(bench.do, bench.owner, "unpause") == "ledger: not paused"
    for writing in writings:
        bench.do(bench.relayer, *writing)


def test_strangers_write_nothing(bench: Any) -> None:
    """Neither strangers nor owner nor guardian may write: writing is the relayer's role."""
    number = bench.round()
    for who in (bench.stranger, bench.owner, bench.guardian):
        for writing in (
            ("open_round", b"2" * 32, bench.now, bench.now + 9, 0, b"m" * 32),
            ("add_video", b"2" * 32, number, b"p" * 32, b"c" * 32, b"o" * 32, "x"),
            ("register", [b"9" * 32]),
            ("add_battle", b"3" * 32, number, b"p" * 32, b"a" * 32, b"b" * 32, SIDES),
            ("batch", 0, number, [], [1]),
            ("commit", 1, b"d" * 32, 0, b"m" * 32),
            ("close_round", number),
        ):
            assert refused(bench.do, who, *writing) == "ledger: not a relayer"


# -------------------------------------------------------------------- rounds


def test_a_round_is_opened_once_by_its_key(bench: Any) -> None:
    """Its number, times and description stand; the same key is refused, another one is the next round."""
    receipt = bench.do(bench.relayer, "open_round", b"a" * 32, bench.now, bench.now + 60, 7, b"m" * 32)
    times = {"opens": bench.now, "closes": bench.now + 60, "grace": 7}
    assert bench.events(receipt) == [("RoundOpened", {"round": 1, "key": b"a" * 32, **times, "meta": b"m" * 32})]
    assert bench.read("round_info", 1) == (bench.now, bench.now + 60, 7, 0, 0, False, 0)
    again = ("open_round", b"a" * 32, bench.now, bench.now + 60, 0, b"m" * 32)
    assert refused(bench.do, bench.relayer, *again) == "ledger: round exists"
    assert bench.round(b"b" * 32) == 2
    for unknown in (0, 3, 2**224 + 1):
        assert bench.read("round_info", unknown) == (0, 0, 0, 0, 0, False, 0)


@pytest.mark.parametrize(
    ("key", "opens", "closes", "grace", "reason"),
    [
        (b"a" * 32, 0, 0, 0, "ledger: bad times"),
        (b"a" * 32, 100, 100, 0, "ledger: bad times"),
        (b"a" * 32, -200, -100, 100, "ledger: bad times"),
        (b"a" * 32, 0, 2**40, 0, "ledger: bad times"),
        (b"a" * 32, 2**63, 2**63 + 1, 0, "ledger: bad times"),
        (b"a" * 32, 0, 100, MAX_GRACE + 1, "ledger: grace too long"),
        (b"a" * 32, 0, 100, 2**32 - 1, "ledger: grace too long"),
        (bytes(32), 0, 100, 0, "ledger: no key"),
    ],
)
def test_a_round_needs_a_key_and_time_to_vote(
    bench: Any, key: bytes, opens: int, closes: int, grace: int, reason: str
) -> None:
    """A round that is empty, over already, nameless, later than the ledger can tell, or never over is refused."""
    arguments = ("open_round", key, bench.now + opens, bench.now + closes, grace, b"m" * 32)
    assert refused(bench.do, bench.relayer, *arguments) == reason


def test_the_longest_round_of_all_keeps_to_its_fields(bench: Any) -> None:
    """Times and grace at their limits do not run into each other, or into what is counted beside them."""
    last = 2**40 - 1
    bench.do(bench.relayer, "open_round", b"a" * 32, last - 1, last, MAX_GRACE, b"m" * 32)
    bench.video(1)
    assert bench.read("round_info", 1) == (last - 1, last, MAX_GRACE, 1, 0, False, 0)
    bench.do(bench.relayer, "close_round", 1)
    assert bench.read("round_info", 1) == (last - 1, bench.now, 0, 1, 0, False, 0)


def test_a_video_is_entered_once_by_its_key_and_only_into_an_open_round(bench: Any) -> None:
    """Its hashes stand in the event; doubles, unknown rounds and closed rounds are refused."""
    number = bench.round(seconds=60)
    receipt = bench.do(bench.relayer, "add_video", b"v" * 32, number, b"p" * 32, b"c" * 32, b"o" * 32, "playback-1")
    name, fields = bench.events(receipt)[0]
    assert name == "VideoAdded"
    assert fields == {
        "video": 1025, "round": 1, "key": b"v" * 32, "prompt_hash": b"p" * 32, "content_hash": b"c" * 32,
        "model_hash": b"o" * 32, "playback_id": "playback-1",
    }  # fmt: skip
    assert (bench.read("kind_of", 1025), bench.read("kind_of", 1026)) == (1, 0)

    def add(key: bytes, to: int, playback: str = "x") -> None:
        bench.do(bench.relayer, "add_video", key, to, b"p" * 32, b"c" * 32, b"o" * 32, playback)

    assert refused(add, b"v" * 32, number) == "ledger: video exists"
    assert refused(add, b"w" * 32, 2) == "ledger: unknown round"
    assert refused(add, b"w" * 32, 2**246 + 1) == "ledger: unknown round"
    assert refused(add, bytes(32), number) == "ledger: no key"
    assert refused(add, b"w" * 32, number, "x" * 129) != ""
    bench.now += 59
    add(b"w" * 32, number, "x" * 128)
    bench.now += 1
    assert refused(add, b"x" * 32, number) == "ledger: round closed"
    assert [bench.read("video_of", key * 32) for key in (b"v", b"w", b"x")] == [1025, 1026, 0]


def test_videos_and_battles_may_come_late_but_not_after_the_grace(bench: Any) -> None:
    """What was shown before the close still gets its place, and votes with it; a signed ballot would be too late."""
    number = bench.round(seconds=60, grace=5)
    bench.now += 64
    video, battle = bench.video(number), bench.battle(number)
    bench.voters(1)
    bench.vote([Ballot(video, 0, 1)], [1])
    assert bench.read("tally", video) == (1, 0, 0)
    assert bench.read("kind_of", battle) == 2
    bench.now += 1
    assert refused(bench.video, number, b"w" * 32) == "ledger: round closed"
    assert refused(bench.battle, number, b"x" * 32) == "ledger: round closed"


# ------------------------------------------------------ limits that nobody reaches


def packed(bench: Any, items: int = 0, seats: int = 0, own: int = 0) -> int:
    """A running round as the contract stores it, so full."""
    return int(bench.now | bench.now + 60 << 40 | items << 112 | seats << 128 | own << 160)


def test_a_round_holds_at_most_1023_videos_and_battles(bench: Any) -> None:
    """The last place is given; there is no other after it; and so full a round is finalized in one go."""
    bench.round(seconds=60)
    new = ("add_video", b"x" * 32, 1, bytes(32), bytes(32), bytes(32), "")
    bench.suppose(rounds={1: packed(bench, 1022)})
    assert bench.asked(*new) == 1024 + 1023
    bench.suppose(rounds={1: packed(bench, 1023)})
    assert refused(bench.asked, *new) == "ledger: round full"
    bench.now += 60
    one_up_and_some_down = {1024 + place: 1 << 192 | place << 64 | 1024 for place in range(1, 1024)}
    bench.suppose(items=one_up_and_some_down)
    assert bench.asked("finalize", 1, who=bench.stranger) == 1025
    data = bytes.fromhex(CODEC.encode_abi("finalize", args=[1])[2:])
    gas = bench.blocks.estimate(
        Call(bytes.fromhex(bench.stranger.address[2:]), bytes.fromhex(bench.address[2:]), data, 0, None), None
    )
    assert gas < 4_000_000


def test_a_full_round_takes_no_more_voters(bench: Any) -> None:
    """The last seat of either kind is given, and no number runs into its neighbour."""
    bench.video(bench.round(seconds=60))
    bench.voters(2)
    bench.link(2, member(1))
    last = OWN_SEATS - 2
    word_there = word(1, last // 112, 1 << 2 * (last % 112))
    bench.suppose(rounds={1: packed(bench, 1, last, 7)})
    bench.asked("batch", 0, 1, [arrival(1)], [word_there])
    bench.suppose(rounds={1: packed(bench, 1, last + 1, 7)})
    assert refused(bench.asked, "batch", 0, 1, [arrival(1)], [word_there]) == "ledger: round full"
    for taken in (OWN_SEATS - 1, OWN_SEATS):
        bench.suppose(rounds={1: packed(bench, 1, last, taken)})
        message = ballot_message(bench.domain, member(1).address, 1, [(1025, 1)], 2, bench.now)
        cast = ("cast_signed", member(1).address, 1, [(1025, 1)], 2, bench.now, sign(member(1), message))
        if taken < OWN_SEATS:
            bench.asked(*cast)
        else:
            assert refused(bench.asked, *cast) == "ledger: round full"


def test_there_is_an_end_to_rounds_and_voters(bench: Any) -> None:
    """The last one of each is taken, the next one refused: an index has 31 bits, a round's number 32."""
    opened = ("open_round", b"x" * 32, bench.now, bench.now + 60, 0, bytes(32))
    bench.suppose(rounds_count=2**32 - 2, voters=2**31 - 2 | 5 << 32)
    assert bench.asked(*opened) == 2**32 - 1
    bench.asked("register", [b"x" * 32])
    assert refused(bench.asked, "register", [b"x" * 32, b"y" * 32]) == "ledger: too many voters"
    bench.suppose(rounds_count=2**32 - 1)
    assert refused(bench.asked, *opened) == "ledger: too many rounds"


def test_a_tally_of_millions_stays_in_its_field(bench: Any) -> None:
    """All ups, downs and ties at once, at more than a ledger can have voters, and still exact."""
    many = 2**40
    bench.suppose(items={1025: 3 << 192 | many << 128 | many + 3 << 64 | many + 5, 1026: 1 << 192 | 7 << 64 | many})
    assert (bench.read("tally", 1025), bench.read("tally", 1026)) == ((5, 3, many), (many, 7, 0))


def test_voters_get_dense_indices_once(bench: Any) -> None:
    """Indices run from 1 over all registrations; a double refuses the whole list, within it or before it."""
    receipt = bench.do(bench.relayer, "register", [b"1" * 32, b"2" * 32])
    assert bench.events(receipt) == [("VotersRegistered", {"first": 1, "voter_ids": [b"1" * 32, b"2" * 32]})]
    for double in ([b"3" * 32, b"1" * 32], [b"3" * 32, b"3" * 32]):
        assert refused(bench.do, bench.relayer, "register", double) == "ledger: voter exists"
    assert refused(bench.do, bench.relayer, "register", []) == "ledger: empty list"
    assert refused(bench.do, bench.relayer, "register", [bytes(32)]) == "ledger: no voter id"
    bench.voters(257, first=10)
    assert refused(bench.do, bench.relayer, "register", [bytes([1, n % 256]) * 16 for n in range(257)]) != ""
    assert bench.read("voter_index", b"3" * 32) == 0
    bench.do(bench.relayer, "register", [b"3" * 32])
    assert [bench.read("voter_index", name * 32) for name in (b"1", b"2", b"3")] == [1, 2, 260]


# --------------------------------------------------------------------- votes


def test_votes_are_counted_changed_and_withdrawn(bench: Any) -> None:
    """The last choice counts, one a voter and video; a withdrawn vote counts for nothing."""
    number = bench.round()
    first, second = bench.video(number), bench.video(number, b"w" * 32)
    bench.voters(200)
    voters = [1, 2, 200, *range(3, 200)]
    receipt = bench.vote(
        [Ballot(first, 0, 1), Ballot(first, 1, 1), Ballot(first, 199, 2), Ballot(second, 0, 2)], voters
    )
    assert int(receipt["status"], 16) == 1
    assert bench.read("tally", first) == (2, 1, 0)
    assert bench.read("tally", second) == (0, 1, 0)
    bench.vote([Ballot(first, 0, 2), Ballot(first, 1, 0), Ballot(first, 199, 2)])
    assert bench.read("tally", first) == (0, 2, 0)
    assert [bench.read("vote_of", first, seat) for seat in (0, 1, 199)] == [2, 0, 2]
    assert bench.read("vote_of", second, 0) == 2
    bench.do(bench.relayer, "batch", 2, 1, [], [word(1, 0, 1 << 4), word(1, 0, 2 << 4), word(1, 0, 1 << 4)])
    assert bench.read("vote_of", first, 2) == 1
    assert bench.read("tally", first) == (1, 2, 0)
    assert bench.read("round_info", 1)[4] == 200
    assert [bench.read("is_seated", 1, voter) for voter in (0, 1, 200, 201, 2**32 + 1)] == [0, 1, 1, 0, 0]
    assert [bench.read("vote_of", first + (1 << 234), 199), bench.read("vote_of", first, 2**200)] == [0, 0]


def test_a_battle_has_three_outcomes_and_keeps_its_sides_secret(bench: Any) -> None:
    """A, B or a tie, changed at will; who was who is told after the close, by anyone who knows the salt."""
    number = bench.round(seconds=60, grace=5)
    receipt = bench.do(bench.relayer, "add_battle", b"b" * 32, number, b"p" * 32, b"1" * 32, b"2" * 32, SIDES)
    fields = {"prompt_hash": b"p" * 32, "content_a": b"1" * 32, "content_b": b"2" * 32, "sides": SIDES}
    battle = 1025
    assert bench.events(receipt) == [("BattleAdded", {"battle": battle, "round": 1, "key": b"b" * 32, **fields})]
    assert bench.read("kind_of", battle) == 2
    bench.voters(5)
    all_battles = [battle]
    ballots = [Ballot(battle, seat, choice) for seat, choice in enumerate((1, 2, 3, 1, 3))]
    bench.vote(ballots, [1, 2, 3, 4, 5], all_battles)
    assert bench.read("tally", battle) == (2, 1, 2)
    bench.vote([Ballot(battle, 0, 3), Ballot(battle, 2, 2), Ballot(battle, 1, 1)], battles=all_battles)
    assert bench.read("tally", battle) == (2, 1, 2)
    assert [bench.read("vote_of", battle, seat) for seat in range(5)] == [3, 1, 2, 1, 3]
    reveal = ("reveal_battle", battle, *MODELS)
    bench.now += 64
    assert refused(bench.do, bench.stranger, *reveal) == "ledger: round open"
    bench.now += 1
    assert refused(bench.do, bench.stranger, "reveal_battle", battle, MODELS[1], MODELS[0], MODELS[2]) == (
        "ledger: other sides"
    )
    told = {"battle": battle, "model_a": MODELS[0], "model_b": MODELS[1], "salt": MODELS[2]}
    assert bench.events(bench.do(bench.stranger, *reveal)) == [("BattleRevealed", told)]
    assert refused(bench.do, bench.stranger, *reveal) == "ledger: nothing to reveal"
    assert refused(bench.do, bench.stranger, "reveal_battle", 9, *MODELS) == "ledger: nothing to reveal"
    decided = bench.events(bench.do(bench.stranger, "finalize", number))
    assert decided == [
        ("BattleDecided", {"battle": battle, "outcome": 1, "a": 2, "b": 1, "ties": 2}),
        ("RoundFinalized", {"round": number, "winner": 0, "up": 0, "down": 0}),
    ]


@pytest.mark.parametrize(
    ("choices", "outcome"), [([1, 2], 3), ([1, 1, 2], 1), ([2], 2), ([3], 3), ([3, 3, 3, 2], 2), ([], 0)]
)
def test_a_battle_goes_to_the_side_with_more_votes(bench: Any, choices: list[int], outcome: int) -> None:
    """Ties count for neither side; without votes nobody has decided anything."""
    battle = bench.battle(bench.round(seconds=60), sides=SIDES)
    bench.voters(4)
    if choices:
        ballots = [Ballot(battle, seat, choice) for seat, choice in enumerate(choices)]
        bench.vote(ballots, range(1, len(choices) + 1), [battle])
    bench.now += 60
    (name, told), _ = bench.events(bench.do(bench.stranger, "finalize", 1))
    assert (name, told["outcome"]) == ("BattleDecided", outcome)


def test_a_battle_needs_sides_and_a_name_of_its_own(bench: Any) -> None:
    """Videos and battles share their names."""
    number = bench.round()
    bench.video(number)
    assert refused(bench.battle, number, b"b" * 32, bytes(32)) == "ledger: no sides"
    assert refused(bench.battle, number, b"v" * 32) == "ledger: video exists"
    assert bench.battle(number) == 1026


def test_a_batch_is_recorded_once_in_strict_order_under_a_rolling_digest(bench: Any) -> None:
    """A repeated, skipped or early sequence number is refused; the digest is that of all batches."""
    number = bench.round()
    video = bench.video(number)
    bench.voters(2)
    seated, one, two = encode_arrivals([2, 1]), encode([Ballot(video, 0, 1)]), encode([Ballot(video, 1, 2)])
    receipt = bench.do(bench.relayer, "batch", 0, number, seated, one)
    told = {"seq": 0, "round": 1, "at": bench.now, "first_seat": 0, "arrivals": seated, "words": one}
    assert bench.events(receipt) == [("VotesRecorded", told)]
    for wrong in (0, 2):
        assert refused(bench.do, bench.relayer, "batch", wrong, number, [], two) == "ledger: wrong sequence"
    bench.do(bench.relayer, "batch", 1, number, [], two)
    assert bench.read("seq") == 2
    assert bench.read("digest") == next_digest(next_digest(bytes(32), 1, seated, one), 1, [], two)


V1, V12 = arrival(1), arrival(1, 2)
MALFORMED = [
    ("no words", [V1], [], "ledger: empty batch"),
    ("an empty word", [V1], [word(1, 0, 0)], "ledger: empty word"),
    ("zeros after a good word", [V1], [word(1, 0, 1), 0], "ledger: empty word"),
    ("no place", [V1], [word(0, 0, 1)], "ledger: unknown video"),
    ("a place that is not taken", [V1], [word(2, 0, 1)], "ledger: unknown video"),
    ("the last place of all", [V1], [word(1023, 0, 1)], "ledger: unknown video"),
    ("a seat before anybody sits", [], [word(1, 0, 1)], "ledger: unknown seat"),
    ("a seat that is not given", [V1], [word(1, 0, 1 << 2)], "ledger: unknown seat"),
    ("the last seat of the slot", [V1], [word(1, 0, 3 << 222)], "ledger: unknown seat"),
    ("the next slot", [V1], [word(1, 1, 1)], "ledger: unknown seat"),
    ("the last slot of all", [V1], [word(1, 2**22 - 1, 1)], "ledger: unknown seat"),
    ("a bad word after good ones", [V12], [word(1, 0, 5), word(1, 0, 2), word(1, 0, 16)], "ledger: unknown seat"),
    ("voter 0", [arrival(0)], [word(1, 0, 1)], "ledger: malformed stream"),
    ("a gap among the arrivals", [arrival(1, 0, 2)], [word(1, 0, 1)], "ledger: malformed stream"),
    ("an arrival after the padding", [V1, arrival(2)], [word(1, 0, 1)], "ledger: malformed stream"),
    ("padding before the arrivals", [arrival(0, 1)], [word(1, 0, 1)], "ledger: malformed stream"),
    ("a last word of padding", [arrival(*[1] * 8), 0], [word(1, 0, 1)], "ledger: voter seated"),
    ("a voter who is not registered", [arrival(3)], [word(1, 0, 1)], "ledger: unknown voter"),
    ("the last index of all", [arrival(2**32 - 1)], [word(1, 0, 1)], "ledger: unknown voter"),
    ("a voter twice", [arrival(1, 1)], [word(1, 0, 1)], "ledger: voter seated"),
    ("a voter again after another", [arrival(1, 2, 1)], [word(1, 0, 1)], "ledger: voter seated"),
]


@pytest.mark.parametrize(
    ("arrivals", "words", "reason"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_a_malformed_batch_is_refused_whole(bench: Any, arrivals: list[int], words: list[int], reason: str) -> None:
    """Nothing of it is recorded: no seat, no vote, no sequence number, no digest."""
    video = bench.video(bench.round())
    bench.voters(2)
    assert refused(bench.do, bench.relayer, "batch", 0, 1, arrivals, words) == reason
    assert (bench.read("seq"), bench.read("digest")) == (0, bytes(32))
    assert bench.read("tally", video) == (0, 0, 0)
    assert bench.read("is_seated", 1, 1) is False
    bench.do(bench.relayer, "batch", 0, 1, [V12], [word(1, 0, 0b1001)])
    assert bench.read("tally", video) == (1, 1, 0)


def test_a_batch_is_about_a_round_that_is_there(bench: Any) -> None:
    """Also not about one whose number would reach into another's storage."""
    bench.video(bench.round())
    bench.voters(1)
    for number in (0, 2, 2**32, 2**224 + 1, 2**246 + 1):
        refusal = refused(bench.do, bench.relayer, "batch", 0, number, [V1], [word(1, 0, 1)])
        assert refusal == "ledger: unknown round"


def test_a_voter_who_sits_already_is_not_seated_again(bench: Any) -> None:
    """In the same round; another round has seats of its own."""
    for key in (b"1", b"2"):
        bench.video(bench.round(key * 32), key * 32)
    bench.voters(300)
    bench.vote([Ballot(1025, 0, 1)], [1, 300])
    for voter in (1, 300):
        assert refused(bench.vote, [Ballot(1025, 2, 1)], [2, voter]) == "ledger: voter seated"
    bench.vote([Ballot(2049, 0, 1)], [300])
    bench.vote([Ballot(1025, 2, 1)], [2])
    assert (bench.read("tally", 1025), bench.read("tally", 2049)) == ((2, 0, 0), (1, 0, 0))


def test_a_batch_holds_at_most_256_words_and_256_of_arrivals(bench: Any) -> None:
    """Full ones are taken; a word more is refused by the interface itself."""
    video = bench.video(bench.round())
    bench.voters(2048)
    bench.do(bench.relayer, "batch", 0, 1, encode_arrivals(range(1, 2049)), [word(1, 0, 1)] * 256)
    assert bench.read("tally", video) == (1, 0, 0)
    assert bench.read("round_info", 1)[4] == 2048
    assert refused(bench.do, bench.relayer, "batch", 1, 1, [], [word(1, 0, 1)] * 257) != ""
    bench.voters(2056, first=3000)
    more = [arrival(*range(first, first + 8)) for first in range(2049, 2049 + 8 * 257, 8)]
    assert refused(bench.do, bench.relayer, "batch", 1, 1, more, [word(1, 0, 1)]) != ""
    assert bench.read("seq") == 1
    bench.do(bench.relayer, "batch", 1, 1, more[:256], [word(1, 0, 2)])
    assert bench.read("round_info", 1)[4] == 4096


def test_every_seat_of_a_slot_is_counted(bench: Any) -> None:
    """All 112 with one word, up and down and withdrawn, and the borders between two slots."""
    video = bench.video(bench.round())
    bench.voters(225)
    bench.vote([Ballot(video, seat, 1) for seat in range(225)], range(1, 226))
    assert bench.read("tally", video) == (225, 0, 0)
    bench.vote([Ballot(video, seat, 2) for seat in range(112, 224)])
    assert bench.read("tally", video) == (113, 112, 0)
    bench.vote([Ballot(video, seat, 0) for seat in (0, 111, 112, 223, 224)])
    assert bench.read("tally", video) == (110, 110, 0)
    assert [bench.read("vote_of", video, seat) for seat in (110, 111, 112, 113, 223, 224)] == [1, 0, 0, 2, 0, 0]


def test_votes_count_from_opening_to_the_end_of_the_grace_and_never_after(bench: Any) -> None:
    """One second before the opening and at the end itself, batches are refused."""
    bench.do(bench.relayer, "open_round", b"a" * 32, bench.now + 10, bench.now + 20, 5, b"m" * 32)
    video = bench.video(1)
    bench.voters(3)
    bench.now += 9
    assert refused(bench.vote, [Ballot(video, 0, 1)], [1]) == "ledger: round not open"
    bench.now += 1
    bench.vote([Ballot(video, 0, 1)], [1])
    bench.now += 14
    bench.vote([Ballot(video, 1, 1)], [2])
    bench.now += 1
    assert refused(bench.vote, [Ballot(video, 2, 1)], [3]) == "ledger: round closed"
    assert bench.read("tally", video) == (2, 0, 0)


# ---------------------------------------------------------------- the result


def test_a_round_is_closed_early_once(bench: Any) -> None:
    """From that second on votes and videos are refused; it cannot be closed or opened again."""
    number = bench.round(grace=100)
    video = bench.video(number)
    bench.voters(1)
    bench.now += 5
    receipt = bench.do(bench.relayer, "close_round", number)
    assert bench.events(receipt) == [("RoundClosed", {"round": number, "closes": bench.now, "grace": 0})]
    assert bench.read("round_info", number) == (bench.now - 5, bench.now, 0, 1, 0, False, 0)
    assert refused(bench.vote, [Ballot(video, 0, 1)], [1]) == "ledger: round closed"
    assert refused(bench.video, number, b"w" * 32) == "ledger: round closed"
    assert refused(bench.do, bench.relayer, "close_round", number) == "ledger: round closed"
    assert refused(bench.do, bench.relayer, "close_round", 9) == "ledger: unknown round"


def test_the_grace_ends_when_the_relayer_says_that_nothing_more_comes(bench: Any) -> None:
    """The close itself stands where it was; what is left of the grace is given up."""
    number = bench.round(seconds=60, grace=100)
    bench.video(number)
    bench.now += 70
    receipt = bench.do(bench.relayer, "close_round", number)
    assert bench.events(receipt) == [("RoundClosed", {"round": number, "closes": bench.now - 10, "grace": 10})]
    assert refused(bench.do, bench.relayer, "close_round", number) == "ledger: round closed"
    bench.do(bench.stranger, "finalize", number)


def test_anyone_finalizes_a_closed_round_once(bench: Any) -> None:
    """Before the end of its grace nobody can; afterwards a stranger can, once."""
    number = bench.round(seconds=60, grace=5)
    video = bench.video(number)
    bench.voters(1)
    bench.vote([Ballot(video, 0, 1)], [1])
    bench.now += 64
    assert refused(bench.do, bench.stranger, "finalize", number) == "ledger: round open"
    for unknown in (0, 9):
        assert refused(bench.do, bench.stranger, "finalize", unknown) == "ledger: unknown round"
    bench.now += 1
    receipt = bench.do(bench.stranger, "finalize", number)
    assert bench.events(receipt) == [("RoundFinalized", {"round": number, "winner": video, "up": 1, "down": 0})]
    assert bench.read("round_info", number)[4:] == (1, True, video)
    assert refused(bench.do, bench.stranger, "finalize", number) == "ledger: round final"


@pytest.mark.parametrize(
    ("tallies", "winner"),
    [
        ([(1, 0), (2, 0), (1, 0)], 2),  # best net score
        ([(3, 1), (2, 0)], 1),  # same net score: more ups
        ([(2, 0), (3, 1)], 2),
        ([(1, 0), (1, 0)], 1),  # all the same: the lower number
        ([(0, 2), (0, 1)], 2),  # less disliked
        ([(0, 1), (0, 0)], 2),  # nobody's favourite, but nobody minds it
        ([(0, 0), (0, 0)], 0),  # nobody voted
        ([], 0),
    ],
)
def test_the_winner_follows_from_the_tallies(bench: Any, tallies: list[tuple[int, int]], winner: int) -> None:
    """Net score, then ups, then the lower number; nobody when there is no vote. Battles take no part."""
    number = bench.round(seconds=60)
    bench.voters(4)
    ballots, battle = [], bench.battle(number)
    for place, (up, down) in enumerate(tallies):
        video = bench.video(number, bytes([place + 1]) * 32)
        ballots += [Ballot(video, voter, 1 if voter < up else 2) for voter in range(up + down)]
    bench.vote([*ballots, *[Ballot(battle, seat, 1) for seat in range(4)]], [1, 2, 3, 4], [battle])
    bench.now += 60
    bench.do(bench.stranger, "finalize", number)
    assert bench.read("round_info", number)[5:] == (True, winner and battle + winner)


def test_a_video_of_another_round_cannot_win(bench: Any) -> None:
    """Only the round's own videos are compared."""
    first, second = bench.round(seconds=60), bench.round(b"2" * 32, seconds=60)
    mine, other = bench.video(first), bench.video(second, b"w" * 32)
    bench.voters(2)
    bench.vote([Ballot(mine, 0, 2)], [1])
    bench.vote([Ballot(other, 0, 1), Ballot(other, 1, 1)], [1, 2])
    bench.now += 60
    bench.do(bench.stranger, "finalize", first)
    assert bench.read("round_info", first)[6] == mine


# ---------------------------------------------------------------- commitments


def test_commitments_are_only_added(bench: Any) -> None:
    """A dataset, a release and the release that continues it; each once, under the next number."""
    told = []
    for kind, root, parent in ((1, b"d" * 32, 0), (2, b"1" * 32, 0), (2, b"2" * 32, 2), (2, b"d" * 32, 2)):
        told += bench.events(bench.do(bench.relayer, "commit", kind, root, parent, b"m" * 32))
    assert told[2] == ("Committed", {"number": 3, "kind": 2, "root": b"2" * 32, "parent": 2, "meta": b"m" * 32})
    assert bench.read("commitments_count") == 4
    assert [bench.read("commitment", number) for number in (1, 3, 5)] == [
        (1, b"d" * 32, 0), (2, b"2" * 32, 2), (0, bytes(32), 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "root", "parent", "reason"),
    [
        (0, b"x" * 32, 0, "unknown kind"),
        (3, b"x" * 32, 0, "unknown kind"),
        (1, bytes(32), 0, "no root"),
        (1, b"d" * 32, 0, "commitment exists"),
        (2, b"x" * 32, 1, "unknown parent"),
        (1, b"x" * 32, 2, "unknown parent"),
        (1, b"x" * 32, 2**255 + 1, "unknown parent"),
    ],
)
def test_a_commitment_needs_a_kind_a_root_and_its_own_line(
    bench: Any, kind: int, root: bytes, parent: int, reason: str
) -> None:
    """Nothing is committed to twice, and a release continues a release."""
    bench.do(bench.relayer, "commit", 1, b"d" * 32, 0, b"m" * 32)
    assert refused(bench.do, bench.relayer, "commit", kind, root, parent, b"m" * 32) == "ledger: " + reason
    assert bench.read("commitments_count") == 1
    bench.do(bench.relayer, "commit", 1, b"x" * 32, 1, b"m" * 32)


# ---------------------------------------------------------------- the interface


def test_every_function_says_what_it_does() -> None:
    """A stranger reads a notice for each function, and a line for each of its parameters; getters have their names."""
    held = ledger_artefact_json()
    functions = [entry for entry in held["abi"] if entry["type"] == "function"]
    getters = set(re.findall(r"^(\w+): public\(", SOURCE.read_text(), re.MULTILINE))
    for entry in functions:
        if entry["name"] in getters:
            continue
        types = ",".join(map(abi_type, entry["inputs"]))
        signature = f"{entry['name']}({types})"
        assert held["userdoc"]["methods"][signature]["notice"], signature
        named = held["devdoc"]["methods"].get(signature, {}).get("params", {})
        assert set(named) == {given["name"] for given in entry["inputs"]}, signature


def test_the_ledger_takes_no_ether_and_knows_no_other_calls(bench: Any) -> None:
    """No function is payable, and a call that is none of them is refused."""
    assert {entry.get("stateMutability") for entry in ledger_artefact_json()["abi"] if entry["type"] == "function"} == {
        "view", "nonpayable",
    }  # fmt: skip
    assert bench._send(bench.owner, bench.address, b"", value=1)["status"] == "0x0"
    assert bench._send(bench.owner, bench.address, b"\x12\x34\x56\x78")["status"] == "0x0"


def test_every_refusal_is_the_ledgers_own_sentence() -> None:
    """A reason that is not `ledger: …` would be lost among those of other contracts."""
    reasons = re.findall(r"^ +assert [^\n]*$", SOURCE.read_text(), re.MULTILINE)
    assert reasons
    assert [line for line in reasons if not re.search(r', "ledger: [a-z ]+"$', line)] == []


def ledger_artefact_json() -> dict[str, Any]:
    held: dict[str, Any] = json.loads(ARTEFACT.read_text(encoding="utf-8"))
    return held


def abi_type(given: dict[str, Any]) -> str:
    """A parameter's type as a signature has it, tuples opened."""
    if not given["type"].startswith("tuple"):
        return str(given["type"])
    return "(" + ",".join(map(abi_type, given["components"])) + ")" + given["type"].removeprefix("tuple")
