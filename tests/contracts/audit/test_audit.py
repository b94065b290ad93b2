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
from contracts.deploy import deploy
from contracts.ledger.batch_codec import Ballot, encode, number_of
from contracts.ledger.client import Ledger
from contracts.outbox import entries as outbox
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.rpc.node import WrongLedgerError
from migrations.database import now_ms, open_database
from migrations.schema import outbox as entries
from migrations.schema import rounds, videos, votes

FIRST = number_of(1, 1)  # the first round's first video
SECOND = FIRST + 1
SALT = "5a" * 32
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
        salted = {"prompt_hash": outbox.salted_hash("p", SALT), "prompt_salt": SALT}
        # The first one as earlier versions entered it: a hash that anybody can try words against.
        for name, prompt in (("a", {"prompt_hash": outbox.text_hash("p")}), ("b", salted)):
            await connection.execute(
                insert(videos).values(
                    id=name, guild_id=7, round_id=1, member_id=1, member_name="m", prompt="p", status="published",
                    created_at_ms=1, cancel_requested=False, seed=1, model_id="tiny", sha256=file, chain_key=keys[name],
                )
            )  # fmt: skip
            await outbox.record_video(
                connection, round_id=1, video_id=name, key=keys[name], content_hash=file,
                model_hash=outbox.text_hash("m"), playback_id="play" + name, **prompt,
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
        (update(videos).where(videos.c.id == "a").values(prompt="q"), "The prompt of video a is not the one"),
        (update(videos).where(videos.c.id == "b").values(prompt="q"), "The prompt of video b is not the one"),
        (
            update(entries).where(entries.c.kind == "video").values(payload={"prompt_salt": "00" * 32}),
            "The prompt of video b is not the one",
        ),
        (
            update(entries).where(entries.c.kind == "video").values(payload={}),  # as if it were an old entry
            "The prompt of video b is not the one",
        ),
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
