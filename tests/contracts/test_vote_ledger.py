"""The contract's rules, each with its negative twin, on a real EVM."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.stream import Ballot, encode, next_digest


def refused(function: Any, *args: Any) -> str:
    """The reason with which the ledger refuses."""
    with pytest.raises(Exception) as caught:  # its reason is what the test looks at
        function(*args)
    return str(getattr(caught.value, "reason", repr(caught.value)))


def words(*entries: int) -> list[int]:
    """A stream of raw entries, eight to a word, as an attacker would write it."""
    listed = [*entries, *[0] * (-len(entries) % 8)]
    return [
        int.from_bytes(b"".join(entry.to_bytes(4, "big") for entry in listed[start : start + 8]), "big")
        for start in range(0, len(listed), 8)
    ]


def header(video: int) -> int:
    return 1 << 31 | video


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
    again = ("open_round", b"2" * 32, bench.now, bench.now + 9, b"m" * 32)
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
        ("open_round", b"2" * 32, bench.now, bench.now + 9, b"m" * 32),
        ("add_video", b"2" * 32, number, b"p" * 32, b"c" * 32, b"o" * 32, "x"),
        ("register", [b"9" * 32]),
        ("batch", 0, encode([Ballot(video, 1, 1)])),
        ("close_round", number),
        ("finalize", number),
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
            ("open_round", b"2" * 32, bench.now, bench.now + 9, b"m" * 32),
            ("add_video", b"2" * 32, number, b"p" * 32, b"c" * 32, b"o" * 32, "x"),
            ("register", [b"9" * 32]),
            ("batch", 0, [1]),
            ("close_round", number),
        ):
            assert refused(bench.do, who, *writing) == "ledger: not a relayer"


# -------------------------------------------------------------------- rounds


def test_a_round_is_opened_once_by_its_key(bench: Any) -> None:
    """Its number, times and description stand; the same key is refused, another one is the next round."""
    receipt = bench.do(bench.relayer, "open_round", b"a" * 32, bench.now, bench.now + 60, b"m" * 32)
    assert bench.events(receipt) == [
        (
            "RoundOpened",
            {"round": 1, "key": b"a" * 32, "opens": bench.now, "closes": bench.now + 60, "meta": b"m" * 32},
        )
    ]
    assert bench.read("round_info", 1) == (bench.now, bench.now + 60, 0, False, 0)
    again = ("open_round", b"a" * 32, bench.now, bench.now + 60, b"m" * 32)
    assert refused(bench.do, bench.relayer, *again) == "ledger: round exists"
    assert bench.round(b"b" * 32) == 2
    assert bench.read("round_info", 3) == (0, 0, 0, False, 0)


@pytest.mark.parametrize(
    ("key", "opens", "closes", "reason"),
    [
        (b"a" * 32, 0, 0, "ledger: bad times"),
        (b"a" * 32, 100, 100, "ledger: bad times"),
        (b"a" * 32, -200, -100, "ledger: bad times"),
        (bytes(32), 0, 100, "ledger: no key"),
    ],
)
def test_a_round_needs_a_key_and_time_to_vote(bench: Any, key: bytes, opens: int, closes: int, reason: str) -> None:
    """A round that is empty, over already, or nameless is refused."""
    arguments = ("open_round", key, bench.now + opens, bench.now + closes, b"m" * 32)
    assert refused(bench.do, bench.relayer, *arguments) == reason


def test_a_video_is_entered_once_by_its_key_and_only_into_an_open_round(bench: Any) -> None:
    """Its hashes stand in the event; doubles, unknown rounds and closed rounds are refused."""
    number = bench.round(seconds=60)
    receipt = bench.do(bench.relayer, "add_video", b"v" * 32, number, b"p" * 32, b"c" * 32, b"o" * 32, "playback-1")
    name, fields = bench.events(receipt)[0]
    assert name == "VideoAdded"
    assert fields == {
        "video": 1, "round": 1, "key": b"v" * 32, "prompt_hash": b"p" * 32, "content_hash": b"c" * 32,
        "model_hash": b"o" * 32, "playback_id": "playback-1",
    }  # fmt: skip
    assert bench.read("videos_of", 1) == (1,)
    assert bench.read("round_of_video", 1) == 1

    def add(key: bytes, to: int, playback: str = "x") -> None:
        bench.do(bench.relayer, "add_video", key, to, b"p" * 32, b"c" * 32, b"o" * 32, playback)

    assert refused(add, b"v" * 32, number) == "ledger: video exists"
    assert refused(add, b"w" * 32, 2) == "ledger: unknown round"
    assert refused(add, bytes(32), number) == "ledger: no key"
    bench.now += 59
    add(b"w" * 32, number)
    bench.now += 1
    assert refused(add, b"x" * 32, number) == "ledger: round closed"
    assert bench.read("videos_of", 1) == (1, 2)


def test_voters_get_dense_indices_once(bench: Any) -> None:
    """Indices run from 1 over all registrations; a double refuses the whole list, within it or before it."""
    receipt = bench.do(bench.relayer, "register", [b"1" * 32, b"2" * 32])
    assert bench.events(receipt) == [("VotersRegistered", {"first": 1, "voter_ids": [b"1" * 32, b"2" * 32]})]
    for double in ([b"3" * 32, b"1" * 32], [b"3" * 32, b"3" * 32]):
        assert refused(bench.do, bench.relayer, "register", double) == "ledger: voter exists"
    assert refused(bench.do, bench.relayer, "register", []) == "ledger: empty list"
    assert refused(bench.do, bench.relayer, "register", [bytes(32)]) == "ledger: no voter id"
    assert bench.read("voter_index", b"3" * 32) == 0
    bench.do(bench.relayer, "register", [b"3" * 32])
    assert [bench.read("voter_index", name * 32) for name in (b"1", b"2", b"3")] == [1, 2, 3]


# --------------------------------------------------------------------- votes


def test_votes_are_counted_changed_and_withdrawn(bench: Any) -> None:
    """The last choice counts, one a voter and video; a withdrawn vote counts for nothing."""
    number = bench.round()
    first, second = bench.video(number), bench.video(number, b"w" * 32)
    bench.voters(200)
    bench.vote(encode([Ballot(first, 1, 1), Ballot(first, 2, 1), Ballot(first, 200, 2), Ballot(second, 1, 2)]))
    assert bench.read("tally", first) == (2, 1)
    assert bench.read("tally", second) == (0, 1)
    bench.vote(encode([Ballot(first, 1, 2), Ballot(first, 2, 0), Ballot(first, 200, 2)]))
    assert bench.read("tally", first) == (0, 2)
    assert [bench.read("vote_of", first, voter) for voter in (1, 2, 200)] == [2, 0, 2]
    assert bench.read("vote_of", second, 1) == 2
    bench.vote(encode([Ballot(first, 3, 1), Ballot(first, 3, 2), Ballot(first, 3, 1)]))
    assert bench.read("vote_of", first, 3) == 1
    assert bench.read("tally", first) == (1, 2)


def test_a_batch_is_recorded_once_in_strict_order_under_a_rolling_digest(bench: Any) -> None:
    """A repeated, skipped or early sequence number is refused; the digest is that of all batches."""
    number = bench.round()
    video = bench.video(number)
    bench.voters(2)
    one, two = encode([Ballot(video, 1, 1)]), encode([Ballot(video, 2, 2)])
    receipt = bench.do(bench.relayer, "batch", 0, one)
    assert bench.events(receipt) == [("VotesRecorded", {"seq": 0, "words": one})]
    for wrong in (0, 2):
        assert refused(bench.do, bench.relayer, "batch", wrong, two) == "ledger: wrong sequence"
    bench.do(bench.relayer, "batch", 1, two)
    assert bench.read("seq") == 2
    assert bench.read("digest") == next_digest(next_digest(bytes(32), one), two)


MALFORMED = [
    ("no header", words(1 << 2 | 1), "ledger: no video header"),
    ("nothing at all", [], "ledger: empty batch"),
    ("padding only", [0], "ledger: no video header"),
    ("voter 0 before a header", words(1), "ledger: no video header"),
    ("voter 0", words(header(1), 1), "ledger: unknown voter"),
    ("a voter who is not registered", words(header(1), 3 << 2 | 1), "ledger: unknown voter"),
    ("the last index of all", words(header(1), (2**29 - 1) << 2 | 1), "ledger: unknown voter"),
    ("choice 3", words(header(1), 1 << 2 | 3), "ledger: bad choice"),
    ("voter 0 with choice 3", words(header(1), 3), "ledger: bad choice"),
    ("video 0", words(header(0), 1 << 2 | 1), "ledger: unknown video"),
    ("an unknown video", words(header(2), 1 << 2 | 1), "ledger: unknown video"),
    ("an entry after the padding", words(header(1), 0, 1 << 2 | 1), "ledger: malformed stream"),
    ("a bad entry after good ones", words(header(1), 1 << 2 | 1, 2 << 2 | 1, 9 << 2 | 1), "ledger: unknown voter"),
]


@pytest.mark.parametrize(("stream", "reason"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_malformed_stream_is_refused_whole(bench: Any, stream: list[int], reason: str) -> None:
    """Nothing of it is recorded: no vote, no sequence number, no digest."""
    video = bench.video(bench.round())
    bench.voters(2)
    assert refused(bench.do, bench.relayer, "batch", 0, stream) == reason
    assert bench.read("seq") == 0
    assert bench.read("digest") == bytes(32)
    assert bench.read("tally", video) == (0, 0)


def test_a_batch_holds_at_most_256_words(bench: Any) -> None:
    """A full one is taken; one word more is refused by the interface itself."""
    video = bench.video(bench.round())
    bench.voters(256)
    full = encode([Ballot(video, voter, 1 + voter % 2) for voter in range(1, 257)])
    bench.vote(full + [words(header(video))[0]] * (256 - len(full)))
    assert bench.read("tally", video) == (128, 128)
    assert refused(bench.do, bench.relayer, "batch", 1, [words(header(video))[0]] * 257) != ""
    assert bench.read("seq") == 1


def test_votes_count_from_opening_to_close_and_never_after(bench: Any) -> None:
    """One second before the opening and at the close itself, votes are refused."""
    bench.do(bench.relayer, "open_round", b"a" * 32, bench.now + 10, bench.now + 20, b"m" * 32)
    video = bench.video(1)
    bench.voters(3)
    bench.now += 9
    assert refused(bench.vote, encode([Ballot(video, 1, 1)])) == "ledger: round not open"
    bench.now += 1
    bench.vote(encode([Ballot(video, 1, 1)]))
    bench.now += 9
    bench.vote(encode([Ballot(video, 2, 1)]))
    bench.now += 1
    assert refused(bench.vote, encode([Ballot(video, 3, 1)])) == "ledger: round closed"
    assert bench.read("tally", video) == (2, 0)


def test_a_batch_over_two_rounds_fails_whole_when_one_is_closed(bench: Any) -> None:
    """All or nothing: the open round's votes are not taken either."""
    open_video = bench.video(bench.round())
    closed = bench.round(b"2" * 32)
    closed_video = bench.video(closed, b"w" * 32)
    bench.voters(1)
    bench.do(bench.relayer, "close_round", closed)
    both = encode([Ballot(open_video, 1, 1), Ballot(closed_video, 1, 1)])
    assert refused(bench.vote, both) == "ledger: round closed"
    assert bench.read("tally", open_video) == (0, 0)
    bench.vote(encode([Ballot(open_video, 1, 1)]))
    assert bench.read("tally", open_video) == (1, 0)


# ---------------------------------------------------------------- the result


def test_a_round_is_closed_early_once(bench: Any) -> None:
    """From that second on votes and videos are refused; it cannot be closed or opened again."""
    number = bench.round()
    video = bench.video(number)
    bench.voters(1)
    bench.now += 5
    receipt = bench.do(bench.relayer, "close_round", number)
    assert bench.events(receipt) == [("RoundClosed", {"round": number, "closes": bench.now})]
    assert bench.read("round_info", number) == (bench.now - 5, bench.now, 1, False, 0)
    assert refused(bench.vote, encode([Ballot(video, 1, 1)])) == "ledger: round closed"
    assert refused(bench.video, number, b"w" * 32) == "ledger: round closed"
    assert refused(bench.do, bench.relayer, "close_round", number) == "ledger: round closed"
    assert refused(bench.do, bench.relayer, "close_round", 9) == "ledger: unknown round"


def test_anyone_finalizes_a_closed_round_once(bench: Any) -> None:
    """Before its close nobody can; afterwards a stranger can, once."""
    number = bench.round(seconds=60)
    video = bench.video(number)
    bench.voters(1)
    bench.vote(encode([Ballot(video, 1, 1)]))
    assert refused(bench.do, bench.stranger, "finalize", number) == "ledger: round open"
    assert refused(bench.do, bench.stranger, "finalize", 9) == "ledger: unknown round"
    bench.now += 60
    receipt = bench.do(bench.stranger, "finalize", number)
    assert bench.events(receipt) == [("RoundFinalized", {"round": number, "winner": video, "up": 1, "down": 0})]
    assert bench.read("round_info", number)[3:] == (True, video)
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
    """Net score, then ups, then the lower number; nobody when there is no vote."""
    number = bench.round(seconds=60)
    bench.voters(4)
    ballots = []
    for place, (up, down) in enumerate(tallies):
        video = bench.video(number, bytes([place + 1]) * 32)
        ballots += [Ballot(video, 1 + voter, 1 if voter < up else 2) for voter in range(up + down)]
    if ballots:
        bench.vote(encode(ballots))
    bench.now += 60
    bench.do(bench.stranger, "finalize", number)
    assert bench.read("round_info", number)[3:] == (True, winner)


def test_a_video_of_another_round_cannot_win(bench: Any) -> None:
    """Only the round's own videos are compared."""
    first, second = bench.round(seconds=60), bench.round(b"2" * 32, seconds=60)
    mine, other = bench.video(first), bench.video(second, b"w" * 32)
    bench.voters(2)
    bench.vote(encode([Ballot(mine, 1, 2), Ballot(other, 1, 1), Ballot(other, 2, 1)]))
    bench.now += 60
    bench.do(bench.stranger, "finalize", first)
    assert bench.read("round_info", first)[4] == mine
