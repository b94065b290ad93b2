"""The ledger computed anew from events alone: what the contract would refuse is named in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.audit.replay import MAX_GRACE, Replay
from contracts.ledger.batch_codec import OWN_SEATS, Ballot, encode, encode_arrivals, number_of
from contracts.ledger.client import Event
from contracts.ledger.typed_data import Domain, ballot_message, next_signed_digest
from contracts.manifests import sides_hash
from tests.builders.accounts import member, sign

FIRST = number_of(1, 1)  # the first round's first video


SECOND = FIRST + 1


def event(name: str, **args: Any) -> Event:
    return Event(name, args, 1, 1, "0x1")


PAIR = {"prompt_hash": b"", "content_a": b"", "content_b": b""}
BEGINNING = [
    event("RoundOpened", round=1, key=b"r", opens=1, closes=9, grace=2, meta=b""),
    event(
        "VideoAdded", video=FIRST, round=1, key=b"a", playback_id="", prompt_hash=b"", content_hash=b"", model_hash=b""
    ),
    event("BattleAdded", battle=SECOND, round=1, key=b"b", **PAIR, sides=sides_hash(bytes(32), b"1" * 32, b"2" * 32)),
    event("VotersRegistered", first=1, voter_ids=[b"x", b"y", b"z"]),
]


def batch(seq: int, ballots: list[Ballot], arrivals: list[int] = [], at: int = 5, first_seat: int = 0) -> Event:  # noqa: B006  # never changed
    words = encode(ballots, {SECOND})
    return event(
        "VotesRecorded", seq=seq, round=1, at=at, first_seat=first_seat, arrivals=encode_arrivals(arrivals), words=words
    )


def signed(nonce: int, choices: list[tuple[int, int]], voter: int = 3, **other: Any) -> Event:
    told = {"round": 1, "wallet": "0xW", "at": 5, "seat": OWN_SEATS, "deadline": 9, "signature": b""} | other
    return event("BallotCast", voter=voter, choices=choices, nonce=nonce, **told)


LINKED = event("WalletLinked", voter=3, wallet="0xW", nonce=1)


def test_a_log_as_the_contract_writes_it_has_no_problems() -> None:
    """Batches, a signed ballot, a claimed seat, a battle and a result: all of it follows."""
    replay = Replay().apply(
        [
            *BEGINNING,
            batch(0, [Ballot(FIRST, 0, 1), Ballot(SECOND, 1, 3)], [2, 1]),
            LINKED,
            signed(2, [(FIRST, 2), (SECOND, 1)]),
            event("WalletUnlinked", voter=3, wallet="0xW", nonce=3),
            event("WalletLinked", voter=1, wallet="0xW", nonce=4),
            event("SeatClaimed", voter=1, round=1, seat=1),
            signed(5, [(SECOND, 0), (FIRST, 1)], voter=1, seat=1),
            batch(1, [Ballot(FIRST, 0, 0)], at=10, first_seat=2),
            event("BattleDecided", battle=SECOND, outcome=1, a=1, b=0, ties=0),
            event("RoundFinalized", round=1, winner=FIRST, up=1, down=1),
            event("BattleRevealed", battle=SECOND, model_a=bytes(32), model_b=b"1" * 32, salt=b"2" * 32),
            event("Committed", number=1, kind=2, root=b"", parent=0, meta=b""),
        ]
    )
    assert replay.problems == []
    assert (replay.videos[FIRST].ballots, replay.battles[SECOND].ballots) == ({3: 2, 1: 1}, {3: 1})
    assert (replay.by_wallet(1), replay.signed, replay.seq, replay.commitments) == ({1, 3}, 2, 2, 1)


SEATED = [*BEGINNING, batch(0, [Ballot(FIRST, 0, 1)], [1])]


OTHER_SIDES = {"model_a": b"1" * 32, "model_b": bytes(32), "salt": b"2" * 32}


DATA = event("Committed", number=1, kind=1, root=b"d", parent=0, meta=b"")
IMPOSSIBLE = [
    ([event("RoundOpened", round=3, key=b"s", opens=1, closes=9, grace=2, meta=b"")], "where round 2 was next"),
    ([event("RoundOpened", round=2, key=b"s", opens=1, closes=9, grace=MAX_GRACE + 1, meta=b"")], "more than a day"),
    ([event("BattleAdded", battle=FIRST + 9, round=1, key=b"s", **PAIR, sides=b"")], "out of turn"),
    ([event("BattleAdded", battle=2 << 10 | 1, round=2, key=b"s", **PAIR, sides=b"")], "round 2, which was not open"),
    ([event("VotersRegistered", first=5, voter_ids=[b"v"])], "from 5 on where 4 was next"),
    ([event("VotersRegistered", first=4, voter_ids=[b"x"])], "Voter 78 was registered twice"),
    ([batch(2, [Ballot(FIRST, 0, 1)], first_seat=1)], "Batch 2 was recorded where batch 1 was next"),
    ([batch(1, [Ballot(FIRST, 0, 1)], first_seat=7)], "gives seats from 7 on, not from 1 on"),
    ([batch(1, [Ballot(FIRST, 1, 1)], first_seat=1)], "seat 1 on video 1025: unknown"),
    ([batch(1, [Ballot(FIRST + 5, 0, 1)], first_seat=1)], "on video 1030: unknown"),
    ([batch(1, [Ballot(FIRST, 0, 1)], [9], first_seat=1)], "seats voter 9, who is unknown"),
    ([batch(1, [Ballot(FIRST, 0, 1)], [1], first_seat=1)], "seats voter 1 a second time"),
    ([batch(1, [Ballot(FIRST, 0, 1)], at=11, first_seat=1)], "outside of the time of round 1"),
    ([batch(1, [Ballot(FIRST, 0, 1)], at=0, first_seat=1)], "outside of the time of round 1"),
    (
        [event("RoundClosed", round=1, closes=5, grace=0), batch(1, [Ballot(FIRST, 0, 1)], at=4, first_seat=1)],
        "which was closed",
    ),
    ([event("RoundClosed", round=7, closes=5, grace=0)], "Round 7 was closed, but it was not open"),
    ([LINKED, batch(1, [Ballot(FIRST, 1, 1)], [3], first_seat=1)], "voter 3, who has linked a wallet"),
    ([LINKED, event("WalletLinked", voter=2, wallet="0xW", nonce=2)], "but one of them was linked"),
    ([event("WalletLinked", voter=8, wallet="0xW", nonce=2)], "linked or unknown"),
    ([event("WalletUnlinked", voter=3, wallet="0xW", nonce=2)], "which was not linked"),
    ([event("SeatClaimed", voter=1, round=1, seat=0)], "who has no right"),
    ([LINKED, event("SeatClaimed", voter=3, round=1, seat=0)], "who has no right"),
    ([signed(2, [(FIRST, 1)])], "does not vote for voter 3"),
    ([LINKED, signed(1, [(FIRST, 1)])], "its nonce was used before"),
    ([LINKED, signed(2, [(FIRST, 1)], deadline=4)], "was late"),
    ([LINKED, signed(2, [(FIRST, 1)], at=9)], "outside of the time of round 1"),
    ([LINKED, signed(2, [(FIRST, 1)], seat=0)], "which is not the wallet's"),
    ([event("BattleRevealed", battle=SECOND, **OTHER_SIDES)], "sides that were not fixed"),
    ([event("BattleDecided", battle=SECOND, outcome=1, a=1, b=0, ties=0)], "decided otherwise than its votes"),
    ([event("RoundFinalized", round=1, winner=0, up=0, down=0)], "names video 0 as its winner"),
    ([event("RoundFinalized", round=1, winner=FIRST, up=2, down=0)], "which the votes do not give"),
    ([event("RoundFinalized", round=1, winner=FIRST, up=1, down=0)] * 2, "unknown or final already"),
    ([event("Committed", number=1, kind=1, root=b"", parent=1, meta=b"")], "continues one that is not there"),
    ([DATA, event("Committed", number=2, kind=2, root=b"r", parent=1, meta=b"")], "which is of another kind"),
    ([DATA, event("Committed", number=2, kind=1, root=b"d", parent=1, meta=b"")], "committed to before"),
]


@pytest.mark.parametrize(("events", "sentence"), IMPOSSIBLE, ids=[case[1] for case in IMPOSSIBLE])
def test_what_the_contract_would_refuse_is_told_in_one_sentence(events: list[Event], sentence: str) -> None:
    """Each thing that cannot be is named; the rest of the log is read on."""
    replay = Replay().apply([*SEATED, *events])
    assert any(sentence in problem for problem in replay.problems), replay.problems
    assert len(replay.problems) <= 2


def test_a_batch_that_cannot_be_read_is_told() -> None:
    """Words and arrivals of a shape that the contract refuses."""
    for arrivals, words in (([], [1]), ([1], encode([Ballot(FIRST, 0, 1)])), ([], [])):
        told = {"round": 1, "at": 5, "first_seat": 1, "arrivals": arrivals, "words": words}
        replay = Replay().apply([*SEATED, event("VotesRecorded", seq=1, **told)])
        assert [problem.split(":")[0] for problem in replay.problems] == ["Batch 1 cannot be read"]
    unknown = event("VotesRecorded", seq=0, round=9, at=5, first_seat=0, arrivals=[], words=[1])
    assert Replay().apply([unknown]).problems == ["Batch 0 is about round 9, which is unknown."]


def test_a_signature_is_checked_by_whoever_audits() -> None:
    """What no key of the wallet's signed is told, whatever its length: the chain knows if that is a smart account."""
    ana, domain = member(1), Domain(5, "0x" + "11" * 20)
    message = ballot_message(domain, ana.address, 1, [(FIRST, 1)], 2, 9)
    link = event("WalletLinked", voter=3, wallet=ana.address, nonce=1)
    for signature, unproven in (
        (sign(ana, message), []),
        (sign(member(2), message), [(ana.address, 1, "Signed ballot 0")]),
        (b"passkey", [(ana.address, 1, "Signed ballot 0")]),
    ):
        cast = signed(2, [(FIRST, 1)], wallet=ana.address, signature=signature)
        replay = Replay(domain).apply([*BEGINNING, link, cast])
        assert (replay.problems, replay.unproven) == ([], unproven)
        assert replay.signed_digest == next_signed_digest(bytes(32), ana.address, message)
