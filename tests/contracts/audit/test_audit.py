"""The audit finds what was tampered with, and is silent where nothing was."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.audit.replay import MAX_GRACE, Replay
from contracts.deploy import deploy
from contracts.ledger.batch_codec import OWN_SEATS, Ballot, encode, encode_arrivals, number_of
from contracts.ledger.calldata import sides_hash
from contracts.ledger.client import Event, Ledger
from contracts.ledger.typed_data import Domain, ballot_message, next_signed_digest
from contracts.outbox import entries as outbox
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.rpc.node import WrongLedgerError
from migrations.database import now_ms, open_database
from migrations.schema import outbox as entries
from migrations.schema import rounds, videos, votes
from tests.builders.accounts import member, sign

FIRST = number_of(1, 1)  # the first round's first video
SECOND = FIRST + 1
PEPPER = b"a pepper that nobody can guess, 32+"


async def play(store: AsyncEngine, ledger: Ledger, chain: Any) -> None:
    """A finished round with two videos and the votes of three members, on chain and in the database."""
    keys, file = {name: outbox.text_hash(name) for name in ("r", "a", "b")}, outbox.text_hash("file")
    async with store.begin() as connection:
        about = {"guild_id": 7, "number": 1, "task": "t", "opened_by": 1, "channel_id": 1, "status": "open"}
        times = {"opens_at_ms": now_ms() - 2000, "closes_at_ms": now_ms() + 60_000}
        await connection.execute(insert(rounds).values(id=1, **about, **times, chain_key=keys["r"]))
        await outbox.record_round(
            connection, round_id=1, key=keys["r"], opens_ms=times["opens_at_ms"], closes_ms=times["closes_at_ms"],
            meta_hash=outbox.text_hash("t"),
        )  # fmt: skip
        for name in ("a", "b"):
            await connection.execute(
                insert(videos).values(
                    id=name, guild_id=7, round_id=1, member_id=1, member_name="m", prompt="p", status="published",
                    created_at_ms=1, cancel_requested=False, seed=1, model_id="tiny", sha256=file, chain_key=keys[name],
                )
            )  # fmt: skip
            await outbox.record_video(
                connection, round_id=1, video_id=name, key=keys[name], prompt_hash=outbox.text_hash("p"),
                content_hash=file, model_hash=outbox.text_hash("m"), playback_id="play" + name,
            )  # fmt: skip
        for name, member, choice in (("a", 1, 1), ("a", 2, 1), ("a", 3, 2), ("b", 1, 2)):
            values = {"video_id": name, "member_id": member, "choice": choice, "source": "button", "cast_at_ms": 1}
            await connection.execute(insert(votes).values(**values))
            row = outbox.vote_row(round_id=1, video_id=name, voter_id=outbox.voter_id(PEPPER, 7, member), choice=choice)
            await outbox.record_votes(connection, [row])
        await outbox.record_close(connection, round_id=1)
    relayer = Relayer(store, ledger, chain.signer, RelayerSettings())
    while await relayer.tick():
        pass
    async with store.begin() as connection:
        await connection.execute(update(rounds).values(winner_video_id="a"))


@pytest.fixture(scope="module")
def game(chain: Any, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The address of a ledger, and the database that belongs to it."""
    directory = tmp_path_factory.mktemp("game")
    shutil.copy(migrated, directory / "flock.db")

    async def make() -> str:
        deployment = await deploy(chain.url, chain.signer, directory / "ledger.json")
        engine = open_database(f"sqlite:///{directory}/flock.db")
        async with Ledger(chain.url, deployment.address) as ledger:
            await play(engine, ledger, chain)
        await engine.dispose()
        return deployment.address

    return asyncio.run(make()), directory / "flock.db"


@pytest.fixture
async def ledger(game: tuple[str, Path], chain: Any) -> AsyncIterator[Ledger]:
    """The ledger of the game: these tests only read it."""
    async with Ledger(chain.url, game[0]) as made:
        yield made


@pytest.fixture
async def played(game: tuple[str, Path], tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A copy of the game's database, to be tampered with."""
    shutil.copy(game[1], tmp_path / "flock.db")
    engine = open_database(f"sqlite:///{tmp_path}/flock.db")
    yield engine
    await engine.dispose()


async def test_an_honest_ledger_passes(played: AsyncEngine, ledger: Ledger, chain: Any) -> None:
    """Tallies, winner and receipts are told, as plain JSON; chain alone gives the same figures."""
    report = await audit(chain.url, ledger.address, database=played, pepper=PEPPER)
    assert report.ok, report.problems
    told = json.loads(json.dumps(report.to_json()))
    assert told["ok"] is True
    assert (told["votes"], told["ballots"], told["voters"], told["batches"]) == (4, 4, 3, 1)
    assert [(video["video_id"], video["up"], video["down"]) for video in told["videos"]] == [("a", 2, 1), ("b", 0, 1)]
    assert told["rounds"][0]["winner"] == FIRST
    assert [len(video["tx"]) for video in told["videos"]] == [2, 2]
    alone = await audit(chain.url, ledger.address, round=1)
    assert alone.ok
    assert not alone.database_checked
    assert [(video.up, video.down) for video in alone.videos] == [(2, 1), (0, 1)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            update(votes).where(votes.c.member_id == 3).values(choice=1),
            f"The database counts 3 up and 0 down for video {FIRST}",
        ),
        (update(entries).where(entries.c.choice == 2).values(choice=1), "chose 1 on video"),
        (update(rounds).values(winner_video_id="b"), "names b as the winner of round 1; the ledger names a"),
        (update(videos).where(videos.c.id == "a").values(sha256="00" * 32), "The file of video a is not the one"),
        (update(videos).where(videos.c.id == "a").values(chain_key="11" * 32), f"Video a claims to be video {FIRST}"),
        (update(rounds).values(chain_id=3), "is round 1, not 3"),
    ],
)
async def test_a_database_that_was_tampered_with_is_found(
    played: AsyncEngine, ledger: Ledger, chain: Any, change: Any, sentence: str
) -> None:
    """Each change of one row is told in a sentence that names it."""
    async with played.begin() as connection:
        await connection.execute(change)
    report = await audit(chain.url, ledger.address, database=played)
    assert not report.ok
    assert any(sentence in problem for problem in report.problems), report.problems


async def test_votes_swapped_between_members_are_found_with_the_pepper(
    played: AsyncEngine, ledger: Ledger, chain: Any
) -> None:
    """The sums still agree, so that only the member-by-member comparison sees it."""
    async with played.begin() as connection:
        for member, choice in ((1, 2), (3, 1)):
            here = (votes.c.video_id == "a", votes.c.member_id == member)
            await connection.execute(update(votes).where(*here).values(choice=choice))
    assert (await audit(chain.url, ledger.address, database=played)).ok
    report = await audit(chain.url, ledger.address, database=played, pepper=PEPPER)
    assert len(report.problems) == 2
    assert report.members_checked


async def test_votes_that_wait_are_no_contradiction(played: AsyncEngine, ledger: Ledger, chain: Any) -> None:
    """They are counted as pending; the ledger is not blamed for them."""
    async with played.begin() as connection:
        await connection.execute(update(votes).where(votes.c.video_id == "a", votes.c.member_id == 3).values(choice=1))
        row = outbox.vote_row(round_id=1, video_id="a", voter_id=outbox.voter_id(PEPPER, 7, 3), choice=1)
        await outbox.record_votes(connection, [row])
    report = await audit(chain.url, ledger.address, database=played, pepper=PEPPER)
    assert report.ok, report.problems
    assert report.pending == 1


async def test_a_contract_that_disagrees_with_its_log_is_found(
    played: AsyncEngine, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that hides a batch, or alters one, is betrayed by digest, count and tally."""
    honest = Ledger.events

    async def hide(self: Ledger, *args: Any, **kwargs: Any) -> Any:
        async for event in honest(self, *args, **kwargs):
            if event.name != "VotesRecorded":
                yield event

    async def alter(self: Ledger, *args: Any, **kwargs: Any) -> Any:
        async for event in honest(self, *args, **kwargs):
            if event.name == "VotesRecorded":
                event.args["words"] = encode(
                    [Ballot(FIRST, 0, 2), Ballot(FIRST, 1, 1), Ballot(FIRST, 2, 2), Ballot(SECOND, 0, 2)]
                )
            yield event

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "events", hide)
        hidden = await audit(chain.url, ledger.address)
    assert "The log holds 0 batches, the contract 1." in hidden.problems
    assert any("2 up and 1 down in the contract" in problem for problem in hidden.problems)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "events", alter)
        altered = await audit(chain.url, ledger.address)
    assert any("digest" in problem for problem in altered.problems)
    assert any("2 up and 1 down in the contract; its log gives 1 up and 2 down" in p for p in altered.problems)


async def test_rounds_and_ledgers_that_do_not_exist_are_named(ledger: Ledger, chain: Any) -> None:
    """No empty report is given for them."""
    with pytest.raises(LookupError, match="holds no round 9"):
        await audit(chain.url, ledger.address, round=9)
    with pytest.raises(WrongLedgerError):
        await audit(chain.url, "0x" + "ab" * 20)


def event(name: str, **args: Any) -> Event:
    return Event(name, args, 1, 1, "0x1")


BEGINNING = [
    event("RoundOpened", round=1, key=b"r", opens=1, closes=9, grace=2, meta=b""),
    event(
        "VideoAdded", video=FIRST, round=1, key=b"a", playback_id="", prompt_hash=b"", content_hash=b"", model_hash=b""
    ),
    event("BattleAdded", battle=SECOND, round=1, key=b"b", sides=sides_hash(bytes(32), b"1" * 32, b"2" * 32)),
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
IMPOSSIBLE = [
    ([event("RoundOpened", round=3, key=b"s", opens=1, closes=9, grace=2, meta=b"")], "where round 2 was next"),
    ([event("RoundOpened", round=2, key=b"s", opens=1, closes=9, grace=MAX_GRACE + 1, meta=b"")], "more than a day"),
    ([event("BattleAdded", battle=FIRST + 9, round=1, key=b"s", sides=b"")], "out of turn"),
    ([event("BattleAdded", battle=2 << 10 | 1, round=2, key=b"s", sides=b"")], "round 2, which was not open"),
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


async def test_the_database_of_another_community_does_not_pass(store: AsyncEngine, ledger: Ledger, chain: Any) -> None:
    """Rounds that the ledger does not hold, or that the database does not, are told."""
    async with store.begin() as connection:
        await connection.execute(
            insert(rounds).values(
                id=1, guild_id=7, number=1, task="t", opened_by=1, channel_id=1, status="open", opens_at_ms=1,
                closes_at_ms=2, chain_key="cc" * 32, chain_id=4,
            )
        )  # fmt: skip
        assert (await connection.execute(select(rounds))).first() is not None
    report = await audit(chain.url, ledger.address, database=store)
    assert report.problems == [
        "Round 1 of the database claims to be round 4: it is not.",
        "Round 1 is not in the database.",
    ]
