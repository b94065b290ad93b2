"""Members' own wallets: what they sign counts, what anybody else makes of it does not."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.ledger.batch_codec import OWN_SEATS, Ballot, encode, encode_arrivals
from contracts.ledger.typed_data import (
    Domain,
    ballot_message,
    link_message,
    next_signed_digest,
    signable,
    signer_of,
    unlink_message,
)
from tests.builders.accounts import SMART, YES, high_s, member, one_message, sign
from tests.builders.ledger_bench import CODEC, refused

ANA, BEN = member(1), member(2)
NAMED = [number.to_bytes(32, "big") for number in range(4)]  # the pseudonyms of voters 1, 2, 3


@pytest.fixture
def house(bench: Any) -> Any:
    """A round of a minute with two videos and a battle, and three voters."""
    bench.round(seconds=60, grace=30)
    for key in (b"v", b"w"):
        bench.video(1, key * 32)
    bench.battle(1)
    bench.voters(3)
    return bench


FIRST, SECOND, BATTLE = 1025, 1026, 1027


class Ballots:
    """Signs and sends ballots; every part can be made wrong."""

    def __init__(self, bench: Any, wallet: LocalAccount = ANA) -> None:
        self.bench, self.wallet = bench, wallet

    def cast(self, choices: list[tuple[int, int]], nonce: int = 2, **wrong: Any) -> dict[str, Any]:
        told = {
            "wallet": self.wallet.address, "round": 1, "choices": choices, "nonce": nonce,
            "deadline": self.bench.now + 600, "by": self.wallet, "domain": self.bench.domain, "change": bytes,
        } | wrong  # fmt: skip
        parts = [told[name] for name in ("wallet", "round", "choices", "nonce", "deadline")]
        signature = wrong.get("signature") or sign(told["by"], ballot_message(told["domain"], *parts))
        sent = [wrong.get("sent_" + name, told[name]) for name in ("wallet", "round", "choices", "nonce", "deadline")]
        done: dict[str, Any] = self.bench.do(self.bench.stranger, "cast_signed", *sent, told["change"](signature))
        return done


def votes(bench: Any, seat: int) -> list[int]:
    return [bench.read("vote_of", item, seat) for item in (FIRST, SECOND, BATTLE)]


# ------------------------------------------------------------------ the messages


def test_the_domain_is_the_contracts(bench: Any) -> None:
    """What wallets are shown is what the contract hashes: chain 5, this address, version 2."""
    message = link_message(bench.domain, ANA.address, NAMED[1], 1, 2)
    assert bench.read("domain_separator") == signable(message).header
    assert (bench.read("name"), bench.read("version")) == ("VoteLedger", "2")


@pytest.mark.parametrize("other", [Domain(6, "0x" + "11" * 20), Domain(5, "0x" + "22" * 20)])
def test_a_message_is_of_one_chain_and_one_ledger(other: Domain) -> None:
    """Another chain's or ledger's signature names somebody else."""
    here = Domain(5, "0x" + "11" * 20)
    messages = [ballot_message(domain, ANA.address, 1, [(FIRST, 1)], 1, 2) for domain in (here, other)]
    assert signer_of(messages[0], sign(ANA, messages[0])) == ANA.address
    assert signer_of(messages[0], sign(ANA, messages[1])) != ANA.address


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65), b"\xff" * 65, bytes(66)])
def test_bytes_that_are_no_signature_name_nobody(signature: bytes) -> None:
    """Neither short, long nor impossible ones raise anything."""
    assert signer_of(link_message(Domain(5, "0x" + "11" * 20), ANA.address, NAMED[1], 1, 2), signature) is None


# ------------------------------------------------------------------ link and unlink


def test_a_link_hands_a_voter_to_a_wallet(house: Any) -> None:
    """It is told in the log, can be read both ways, and counts once."""
    signature = sign(ANA, link_message(house.domain, ANA.address, NAMED[1], 7, house.now))
    receipt = house.do(house.relayer, "link", NAMED[1], ANA.address, 7, house.now, signature)
    assert house.events(receipt) == [("WalletLinked", {"voter": 1, "wallet": ANA.address, "nonce": 7})]
    assert house.read("wallet_of", 1) == ANA.address.lower()
    assert house.read("voter_of", ANA.address) == (1, 7)
    assert (house.read("linked_count"), house.read("voters_count")) == (1, 3)


def test_a_link_that_nobody_signed_is_refused(house: Any) -> None:
    """Each part of the message is signed: change one, and it is a bad signature."""
    good = {"wallet": ANA.address, "voter": NAMED[1], "nonce": 1, "deadline": house.now, "domain": house.domain}

    def attempt(by: LocalAccount = ANA, change: Any = bytes, **signed: Any) -> str:
        told = good | signed
        message = link_message(*[told[name] for name in ("domain", "wallet", "voter", "nonce", "deadline")])
        sent = (good["voter"], good["wallet"], good["nonce"], good["deadline"])
        return refused(house.do, house.relayer, "link", *sent, change(sign(by, message)))

    for wrong in (
        {"wallet": BEN.address}, {"voter": NAMED[2]}, {"nonce": 2}, {"deadline": house.now + 1}, {"by": BEN},
        {"domain": Domain(6, house.address)}, {"domain": Domain(5, house.relayer.address)}, {"change": high_s},
        {"change": lambda it: it[:64]}, {"change": lambda it: it + b"\0"}, {"change": lambda it: b""},
        {"change": lambda it: it[:64] + bytes([it[64] - 27])},
    ):  # fmt: skip
        assert attempt(**wrong) == "ledger: bad signature", wrong
    assert house.read("linked_count") == 0
    house.link(1, ANA)


def test_a_link_has_its_rules(house: Any) -> None:
    """One wallet a voter and one voter a wallet; in time; newly; by the relayer; of a voter who is known."""

    def link(voter: bytes, wallet: LocalAccount, nonce: int, deadline: int = 0, who: Any = house.relayer) -> str:
        until = deadline or house.now
        signature = sign(wallet, link_message(house.domain, wallet.address, voter, nonce, until))
        return refused(house.do, who, "link", voter, wallet.address, nonce, until, signature)

    house.link(1, ANA, 5)
    assert link(NAMED[1], BEN, 1) == "ledger: voter linked"
    assert link(NAMED[2], ANA, 6) == "ledger: wallet linked"
    assert link(NAMED[2], ANA, 5) == "ledger: stale nonce"
    assert link(NAMED[2], BEN, 0) == "ledger: stale nonce"
    assert link(NAMED[2], BEN, 2**64) == "ledger: stale nonce"
    assert link(NAMED[2], BEN, 1, house.now - 1) == "ledger: late"
    assert link(b"9" * 32, BEN, 1) == "ledger: unknown voter"
    assert link(NAMED[2], BEN, 1, who=house.stranger) == "ledger: not a relayer"
    house.do(house.guardian, "pause")
    assert link(NAMED[2], BEN, 1) == "ledger: paused"
    house.do(house.owner, "unpause")
    nobody = ("link", NAMED[2], "0x" + "00" * 20, 1, house.now, bytes(65))
    assert refused(house.do, house.relayer, *nobody) == "ledger: no wallet"
    house.link(2, BEN, 2**64 - 1)


def test_only_the_wallet_takes_a_link_back(house: Any) -> None:
    """By its own transaction or by a signature that anybody sends; nonces never come back."""
    house.link(1, ANA, 5)
    for who in (house.relayer, house.owner, house.guardian, house.stranger):
        signature = sign(BEN, unlink_message(house.domain, ANA.address, NAMED[1], 6, house.now))
        assert refused(house.do, who, "unlink", NAMED[1], 6, house.now, signature) == "ledger: bad signature"
    used = sign(ANA, unlink_message(house.domain, ANA.address, NAMED[1], 5, house.now))
    assert refused(house.do, house.stranger, "unlink", NAMED[1], 5, house.now, used) == "ledger: stale nonce"
    signature = sign(ANA, unlink_message(house.domain, ANA.address, NAMED[1], 6, house.now))
    house.do(house.guardian, "pause")
    assert refused(house.do, house.stranger, "unlink", NAMED[1], 6, house.now, signature) == "ledger: paused"
    house.do(house.owner, "unpause")
    receipt = house.do(house.stranger, "unlink", NAMED[1], 6, house.now, signature)
    assert house.events(receipt) == [("WalletUnlinked", {"voter": 1, "wallet": ANA.address, "nonce": 6})]
    assert (house.read("voter_of", ANA.address), house.read("linked_count")) == ((0, 6), 0)
    assert refused(house.do, house.stranger, "unlink", NAMED[1], 6, house.now, signature) == "ledger: not linked"
    again = sign(ANA, link_message(house.domain, ANA.address, NAMED[1], 6, house.now))
    assert refused(house.do, house.relayer, "link", NAMED[1], ANA.address, 6, house.now, again) == "ledger: stale nonce"
    house.link(2, house.stranger, 1)
    receipt = house.do(house.stranger, "unlink", NAMED[2], 0, 0, b"")
    assert house.events(receipt)[0][1]["nonce"] == 1


# ------------------------------------------------------------------ signed ballots


def test_one_signature_covers_a_whole_ballot(house: Any) -> None:
    """Two videos and a battle, sent by a stranger; the log tells all that was signed, and the digest covers it."""
    house.link(1, ANA)
    choices = [(FIRST, 1), (SECOND, 2), (BATTLE, 3)]
    receipt = Ballots(house).cast(choices, 9)
    (name, told), *_ = house.events(receipt)
    message = ballot_message(house.domain, ANA.address, 1, choices, 9, house.now + 600)
    assert name == "BallotCast"
    assert (told["voter"], told["wallet"], told["seat"], told["at"]) == (1, ANA.address, OWN_SEATS, house.now)
    assert [tuple(choice.values()) for choice in told["choices"]] == choices
    assert signer_of(message, told["signature"]) == ANA.address
    assert [house.read("tally", item) for item in (FIRST, SECOND, BATTLE)] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert votes(house, OWN_SEATS) == [1, 2, 3]
    assert house.read("own_seat", 1, 1) == (True, OWN_SEATS)
    assert house.read("signed_count") == 1
    assert house.read("signed_digest") == next_signed_digest(bytes(32), ANA.address, message)
    assert house.read("voter_of", ANA.address) == (1, 9)


def test_a_signed_ballot_is_changed_and_taken_back(house: Any) -> None:
    """Videos and battles alike; the later choice in one ballot counts; nothing is counted twice."""
    house.link(1, ANA)
    mine = Ballots(house)
    mine.cast([(FIRST, 1), (SECOND, 2), (BATTLE, 3), (FIRST, 2)], 2)
    assert votes(house, OWN_SEATS) == [2, 2, 3]
    mine.cast([(FIRST, 0), (SECOND, 1), (BATTLE, 1)], 3)
    assert votes(house, OWN_SEATS) == [0, 1, 1]
    mine.cast([(FIRST, 0), (BATTLE, 0), (SECOND, 0)], 4)
    mine.cast([(BATTLE, 0)], 5)
    assert votes(house, OWN_SEATS) == [0, 0, 0]
    assert [house.read("tally", item) for item in (FIRST, SECOND, BATTLE)] == [(0, 0, 0)] * 3


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"nonce": 1}, "stale nonce"),
        ({"nonce": 0}, "stale nonce"),
        ({"nonce": 2**64}, "stale nonce"),
        ({"deadline": 1}, "late"),
        ({"by": BEN}, "bad signature"),
        ({"change": high_s}, "bad signature"),
        ({"change": lambda it: it[:64]}, "bad signature"),
        ({"change": lambda it: it[:32] + bytes(32) + it[64:]}, "bad signature"),
        ({"sent_choices": [(FIRST, 2)]}, "bad signature"),
        ({"sent_choices": [(FIRST, 1), (FIRST, 1)]}, "bad signature"),
        ({"sent_choices": []}, "bad signature"),
        ({"sent_nonce": 3}, "bad signature"),
        ({"sent_deadline": 2**40}, "bad signature"),
        ({"sent_round": 2}, "bad signature"),
        ({"sent_wallet": BEN.address}, "bad signature"),
        ({"wallet": BEN.address, "by": BEN}, "not linked"),
        ({"domain": Domain(6, "")}, "bad signature"),
        ({"domain": Domain(5, "0x" + "22" * 20)}, "bad signature"),
        ({"choices": []}, "empty ballot"),
        ({"round": 9}, "unknown round"),
        ({"round": 2**224 + 1}, "unknown round"),
        ({"choices": [(FIRST + 7, 1)]}, "unknown video"),
        ({"choices": [(FIRST, 1), (2 << 10 | 1, 1)]}, "unknown video"),
        ({"choices": [(2**64 + FIRST, 1)]}, "unknown video"),
        ({"choices": [(1024, 1)]}, "unknown video"),
        ({"choices": [(FIRST, 3)]}, "bad choice"),
        ({"choices": [(FIRST, 1), (BATTLE, 4)]}, "bad choice"),
        ({"choices": [(BATTLE, 2**255)]}, "bad choice"),
    ],
)
def test_a_ballot_that_is_not_as_it_was_signed_is_refused(house: Any, wrong: dict[str, Any], reason: str) -> None:
    """Nothing of it is recorded; the right one is, a moment later."""
    if "domain" in wrong and not wrong["domain"].address:
        wrong = {"domain": Domain(6, house.address)}
    house.link(1, ANA)
    mine = Ballots(house)
    given = {"choices": [(FIRST, 1)]} | wrong
    assert refused(lambda: mine.cast(**given)) == "ledger: " + reason
    assert house.read("signed_count") == 0
    assert house.read("tally", FIRST) == (0, 0, 0)
    assert house.read("voter_of", ANA.address) == (1, 1)
    mine.cast([(FIRST, 1)])
    assert house.read("tally", FIRST) == (1, 0, 0)


def test_a_ballot_counts_once_and_in_order(house: Any) -> None:
    """The same bytes a second time, and an older ballot after a newer one, are stale."""
    house.link(1, ANA)
    mine = Ballots(house)
    old = sign(ANA, ballot_message(house.domain, ANA.address, 1, [(FIRST, 2)], 3, house.now + 600))
    mine.cast([(FIRST, 1)], 4)
    assert refused(mine.cast, [(FIRST, 1)], 4) == "ledger: stale nonce"
    assert refused(lambda: mine.cast([(FIRST, 2)], 3, signature=old)) == "ledger: stale nonce"
    assert house.read("tally", FIRST) == (1, 0, 0)


def test_signed_ballots_count_from_opening_to_close_without_grace(house: Any) -> None:
    """Batches may bring what was done before the close; a wallet's word has no such witness."""
    house.do(house.relayer, "open_round", b"2" * 32, house.now + 10, house.now + 20, 30, b"m" * 32)
    video = house.video(2, b"x" * 32)
    house.link(1, ANA)
    mine = Ballots(house)
    house.now += 9
    assert refused(lambda: mine.cast([(video, 1)], 2, round=2)) == "ledger: round not open"
    house.now += 1
    mine.cast([(video, 1)], 3, round=2)
    house.now += 9
    mine.cast([(video, 2)], 4, round=2)
    house.now += 1
    assert refused(lambda: mine.cast([(video, 1)], 5, round=2)) == "ledger: round closed"
    house.vote([Ballot(video, 0, 1)], [2])
    assert house.read("tally", video) == (1, 1, 0)


def test_nothing_is_signed_into_a_pause(house: Any) -> None:
    """And after it the same signature is taken."""
    house.link(1, ANA)
    mine = Ballots(house)
    house.do(house.guardian, "pause")
    assert refused(mine.cast, [(FIRST, 1)]) == "ledger: paused"
    house.do(house.owner, "unpause")
    mine.cast([(FIRST, 1)])


def test_a_ballot_names_at_most_64_choices(house: Any) -> None:
    """Sixty-four are taken, one more is refused by the interface itself."""
    house.link(1, ANA)
    mine = Ballots(house)
    mine.cast([(FIRST, 1)] * 64)
    assert refused(mine.cast, [(FIRST, 2)] * 65, 3) != ""
    assert house.read("tally", FIRST) == (1, 0, 0)


# ------------------------------------------------------------------ out of the relayer's reach


def test_the_relayer_cannot_seat_a_linked_voter(house: Any) -> None:
    """Not before and not after a signed ballot; other voters of the same batch are refused with it, whole."""
    house.link(1, ANA)
    assert refused(house.vote, [Ballot(FIRST, 0, 1), Ballot(FIRST, 1, 1)], [2, 1]) == "ledger: voter linked"
    Ballots(house).cast([(FIRST, 1)])
    assert refused(house.vote, [Ballot(FIRST, 0, 2)], [1]) == "ledger: voter seated"
    house.vote([Ballot(FIRST, 0, 2)], [2])
    assert house.read("tally", FIRST) == (1, 1, 0)


def test_the_relayer_cannot_write_seats_that_are_a_wallets_own(house: Any) -> None:
    """They lie beyond all that a batch can have given."""
    house.link(1, ANA)
    Ballots(house).cast([(FIRST, 1)])
    slot = OWN_SEATS // 112
    word = 1 << 246 | slot << 224 | 2
    assert refused(house.do, house.relayer, "batch", 0, 1, [], [word]) == "ledger: unknown seat"
    assert refused(house.do, house.relayer, "batch", 0, 1, encode_arrivals([2]), [word]) == "ledger: unknown seat"
    assert votes(house, OWN_SEATS)[0] == 1


def test_a_seat_that_was_there_before_the_link_is_claimed_with_its_choices(house: Any) -> None:
    """Anybody may claim it for the wallet; then the relayer is refused there, and nowhere else."""
    arrivals = encode_arrivals([3, 1, 2])
    house.vote([Ballot(FIRST, seat, 1) for seat in range(3)], [3, 1, 2])
    claim = ("claim", 1, 1, 0, arrivals)
    assert refused(house.do, house.stranger, *claim) == "ledger: not linked"
    house.link(1, ANA)
    mine = Ballots(house)
    assert refused(mine.cast, [(FIRST, 2)]) == "ledger: seat not claimed"
    house.do(house.guardian, "pause")
    assert refused(house.do, house.stranger, *claim) == "ledger: paused"
    house.do(house.owner, "unpause")
    receipt = house.do(house.stranger, *claim)
    assert house.events(receipt) == [("SeatClaimed", {"voter": 1, "round": 1, "seat": 1})]
    assert refused(house.do, house.stranger, *claim) == "ledger: seat claimed"
    assert refused(house.vote, [Ballot(FIRST, 0, 2), Ballot(FIRST, 1, 2)]) == "ledger: seat claimed"
    mine.cast([(FIRST, 2)])
    house.vote([Ballot(FIRST, 0, 2), Ballot(FIRST, 2, 0)])
    assert [house.read("vote_of", FIRST, seat) for seat in range(3)] == [2, 2, 0]
    assert house.read("tally", FIRST) == (0, 2, 0)


def test_a_claim_needs_the_right_seat_of_the_right_round(house: Any) -> None:
    """Others' seats, seats beyond the list, other lists, and numbers that would reach into another round."""
    arrivals = encode_arrivals([3, 1])
    house.vote([Ballot(FIRST, 0, 1), Ballot(FIRST, 1, 1)], [3, 1])
    other = house.round(b"2" * 32)
    house.link(1, ANA)
    for claim, reason in (
        ((1, 0, 0, arrivals), "not linked"),
        ((1, 2, 0, arrivals), "not linked"),
        ((1, 8, 0, arrivals), "unknown seat"),
        ((1, 0, 1, arrivals), "unknown seat"),
        ((1, 1, 1, arrivals), "other arrivals"),
        ((1, 1, 0, encode_arrivals([1, 1])), "other arrivals"),
        ((1, 1, 0, []), "other arrivals"),
        ((other, 1, 0, arrivals), "other arrivals"),
        ((0, 1, 0, arrivals), "unknown round"),
        ((0, 2**32 + 1, 2**32, arrivals), "unknown round"),
        ((2**224 + 1, 1, 0, arrivals), "unknown round"),
        ((2, 2**32 + 1, 2**32, arrivals), "unknown seat"),
        ((1, 2**255, 0, arrivals), "unknown seat"),
    ):
        assert refused(house.do, house.stranger, "claim", *claim) == "ledger: " + reason, claim
    house.vote([Ballot(FIRST, 1, 2)])
    house.do(house.stranger, "claim", 1, 1, 0, arrivals)
    assert refused(house.vote, [Ballot(FIRST, 1, 1)]) == "ledger: seat claimed"
    assert house.read("round_info", 0) == (0, 0, 0, 0, 0, False, 0)


def test_who_unlinks_keeps_the_seats_of_rounds_that_run(house: Any) -> None:
    """The relayer may seat the voter in new rounds again, but write no seat that was the wallet's."""
    house.link(1, ANA)
    Ballots(house).cast([(FIRST, 1)])
    house.do(house.stranger, "unlink", NAMED[1], 3, house.now, sign(ANA, unlink_message(
        house.domain, ANA.address, NAMED[1], 3, house.now
    )))  # fmt: skip
    assert refused(Ballots(house).cast, [(FIRST, 2)], 4) == "ledger: not linked"
    assert refused(house.vote, [Ballot(FIRST, 0, 2)], [1]) == "ledger: voter seated"
    video = house.video(house.round(b"2" * 32), b"x" * 32)
    house.vote([Ballot(video, 0, 2)], [1])
    house.link(1, BEN)
    Ballots(house, BEN).cast([(FIRST, 2)])
    assert house.read("tally", FIRST) == (0, 1, 0)


# ------------------------------------------------------------------ smart accounts


def test_a_smart_account_votes_by_its_own_rule(house: Any) -> None:
    """It links and casts with whatever signature it understands, also of other lengths than 65 bytes."""
    wallet = house.put(YES)
    house.do(house.relayer, "link", NAMED[1], wallet, 1, house.now, b"passkey")
    for nonce, signature in enumerate((b"", bytes(65), b"x" * 2048), start=2):
        house.do(house.stranger, "cast_signed", wallet, 1, [(FIRST, 1 + nonce % 2)], nonce, house.now, signature)
    assert house.read("tally", FIRST) == (1, 0, 0)
    assert refused(
        house.do, house.stranger, "cast_signed", wallet, 1, [(FIRST, 1)], 9, house.now, bytes(2049)
    ) != ""  # fmt: skip


def test_a_smart_account_is_asked_about_exactly_what_is_done(house: Any) -> None:
    """One that approves one message alone: that link is made, and no ballot is cast."""
    wallet = get_create_address(house.stranger.address, Nonce(0))
    message = link_message(house.domain, wallet, NAMED[1], 1, house.now)
    assert house.put(one_message(message)) == wallet
    wrong = ("link", NAMED[2], wallet, 1, house.now, b"")
    assert refused(house.do, house.relayer, *wrong) == "ledger: bad signature"
    house.do(house.relayer, "link", NAMED[1], wallet, 1, house.now, b"")
    ballot = ("cast_signed", wallet, 1, [(FIRST, 1)], 2, house.now, b"")
    assert refused(house.do, house.stranger, *ballot) == "ledger: bad signature"


@pytest.mark.parametrize("code", SMART.values(), ids=SMART.keys())
def test_a_smart_account_that_does_not_say_yes_links_nobody(house: Any, code: bytes) -> None:
    """Whatever it does instead: nothing is recorded, and it costs the sender at most the gas it was given."""
    wallet = house.put(code)
    link = ("link", NAMED[1], wallet, 1, house.now, b"")
    assert refused(house.do, house.relayer, *link) == "ledger: bad signature"
    assert house.read("linked_count") == 0
    receipt = house._send(house.relayer, house.address, bytes.fromhex(CODEC.encode_abi(link[0], args=link[1:])[2:]))
    assert receipt["status"] == "0x0"
    assert int(receipt["gasUsed"], 16) < 1_100_000


def test_an_account_without_code_is_not_asked(house: Any) -> None:
    """An address that nobody has is no smart account that agrees by silence."""
    nobody = to_checksum_address(keccak(b"nobody")[:20])
    for signature in (b"", bytes(65)):
        refusal = refused(house.do, house.relayer, "link", NAMED[1], nobody, 1, house.now, signature)
        assert refusal == "ledger: bad signature"
    ledger = ("link", NAMED[1], house.address, 1, house.now, b"")
    assert refused(house.do, house.relayer, *ledger) == "ledger: bad signature"


def test_one_key_with_two_accounts_signs_for_one_of_them(house: Any) -> None:
    """A ballot names its wallet: an account of the same owner that takes any word of hers cannot be voted with it."""
    house.link(1, ANA)
    message = ballot_message(house.domain, ANA.address, 1, [(FIRST, 1)], 2, house.now)
    owned = house.put(one_message(message))  # approves it, as an account of hers does
    house.do(house.relayer, "link", NAMED[2], house.put(YES), 1, house.now, b"")
    link = ("link", NAMED[3], owned, 1, house.now, sign(ANA, message))
    assert refused(house.do, house.relayer, *link) == "ledger: bad signature"
    cast = ("cast_signed", owned, 1, [(FIRST, 1)], 2, house.now, sign(ANA, message))
    assert refused(house.do, house.stranger, *cast) == "ledger: bad signature"
    house.do(house.stranger, "cast_signed", ANA.address, 1, [(FIRST, 1)], 2, house.now, sign(ANA, message))


def test_words_of_a_ballot_cannot_be_written_by_hand(house: Any) -> None:
    """A claimed seat in the middle of a full word refuses the word, not only its own bits."""
    arrivals = encode_arrivals([3, 1, 2])
    house.vote([Ballot(FIRST, seat, 1) for seat in range(3)], [3, 1, 2])
    house.link(1, ANA)
    house.do(house.stranger, "claim", 1, 1, 0, arrivals)
    everyone = encode([Ballot(SECOND, seat, 2) for seat in range(3)])
    assert refused(house.do, house.relayer, "batch", 1, 1, [], everyone) == "ledger: seat claimed"
    assert house.read("tally", SECOND) == (0, 0, 0)
