"""A battle round from its command to a release, and the ways in which it ends without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cli.learning.registered_rule import judge_by_registration
from bot.demo.discord import people
from bot.demo.discord.people import wait_for
from bot.domain.battles import Battle, VerdictState
from bot.domain.errors import BattleLedgerError
from bot.domain.releases import Candidate
from bot.store.battles import rounds as battles
from bot.store.learning import candidates, releases
from contracts.audit.audit import audit
from contracts.deploy import deploy
from contracts.manifests import ReleaseManifest
from contracts.outbox.commitments import commitment_status, enqueue_dataset
from contracts.outbox.documents import all_documents
from generation.feedback.dataset.prompts import split_of
from generation.feedback.registration import read_registration
from migrations.schema import rounds, videos
from migrations.states.battles import BattleChoice
from migrations.states.learning import CandidateState
from migrations.states.ledger import CommitmentKind
from tests.builders.battle_rounds import a_rule
from tests.builders.battle_town import (
    a_ready_candidate,
    begin_battle,
    end_battle,
    stand_in_for_workers,
    until_battle,
    until_open,
    use_rule,
)
from tests.builders.chain_process import ChainProcess
from tests.builders.live_bot import Town, open_town
from tests.builders.releases import a_release

DATASET = "da" * 32
PATIENT_S = 300.0  # of who presses and types: no test here is about time
VOTERS = 11  # as many as release where all agree, and two more


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "ANSWER_S", PATIENT_S)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A live bot without a chain."""
    async with open_town(tmp_path, answer_s=PATIENT_S) as town:
        yield town


async def vote(town: Town, battle: Battle, member: int, *, for_candidate: bool, careless: bool = False) -> None:
    """A full ballot of a member. Who is careless answers the catch pair wrong."""
    workflow = town.app.learning.battles.workflow
    for _ in range(battle.size.pairs):
        pair_id = await workflow._ballots.deal(battle.round.id, member, 100.0)
        assert pair_id is not None
        pair = await battles.pair_or_none(town.database, pair_id)
        assert pair is not None
        wants_first = not careless if pair.is_catch else for_candidate
        choice = BattleChoice.A if wants_first == pair.first_is_a else BattleChoice.B
        await workflow._ballots.cast(pair_id, town.guild, member, choice)
        async with town.database.begin() as connection:
            await workflow.vote_is_final(connection, pair_id, town.guild, member)


async def until_verdict(town: Town, battle: Battle) -> Battle:
    """The round, once its verdict is posted, before its deadline."""
    await town.app.learning.battles.workflow.wake(battle.round.id)
    return await until_battle(town, battle.round.id, "the verdict", lambda now: now.round.result_message_id is not None)


async def candidate_of(database: AsyncEngine, battle: Battle) -> Candidate:
    async with database.connect() as connection:
        every = await candidates.in_states(connection, "tiny")
    return next(each for each in every if each.battle_round_id == battle.round.id)


HELD_OUT = [prompt for prompt in (f"a fox number {n}" for n in range(90)) if split_of(prompt) == "test"][:3]


async def post_prompts(town: Town, prompts: Sequence[str] = HELD_OUT) -> None:
    """Posted videos of an earlier round: battle rounds take their prompts if no training has seen them."""
    async with town.database.begin() as connection:
        made = await connection.execute(
            insert(rounds)
            .values(
                guild_id=town.guild, number=1000, task="t", opened_by=1, channel_id=town.channel, status="closed",
                opens_at_ms=0, closes_at_ms=1, chain_key="00" * 32, result_message_id=1,
            )
            .returning(rounds.c.id)
        )  # fmt: skip
        round_id = int(made.scalar_one())
        for number, prompt in enumerate(prompts):
            await connection.execute(
                insert(videos).values(
                    id=str(number + 1), guild_id=town.guild, round_id=round_id, member_id=1, member_name="m",
                    prompt=prompt, status="published", created_at_ms=number, cancel_requested=False, seed=1,
                    model_id="tiny", chain_key=f"{number:064x}",
                )
            )  # fmt: skip


async def test_a_candidate_wins_and_its_release_can_be_audited(tmp_path: Path) -> None:
    """Registered before the first vote, voted on, revealed, released: a stranger's audit finds no contradiction."""
    chain = ChainProcess(tmp_path / "chain")
    try:
        ledger = await deploy(chain.url, chain.signer, tmp_path / "ledger.json")
        settings = {
            "rpc_url": chain.url, "ledger_address": ledger.address, "keystore": Path(chain.ready["key_file"]),
            "flush_s": 0.5,
        }  # fmt: skip
        async with open_town(tmp_path / "town", answer_s=PATIENT_S, **settings) as town:
            await _tell(town, chain.url, ledger.address)
    finally:
        chain.stop()


async def _tell(town: Town, url: str, address: str) -> None:
    database, mira = town.database, town.mira
    stand_in_for_workers(town)
    use_rule(town)
    await post_prompts(town)
    candidate_id, sha256 = await a_ready_candidate(town)
    async with database.begin() as connection:
        await enqueue_dataset(connection, root=DATASET, description=b"a data set")
    with pytest.raises(BattleLedgerError, match="The ledger has not taken the data set"):
        await begin_battle(town)  # it rolls back whole
    await _until_final(database, CommitmentKind.DATASET, DATASET)

    begun = await mira.command("admin model battle", candidate=candidate_id, duration="1h", pairs=4)
    assert "is registered" in begun.text
    latest = await battles.latest_or_none(database, town.guild)
    assert latest is not None
    battle = await until_battle(town, latest.round.id, "the round to open", lambda now: now.round.status == "open")
    assert battle.round.chain_id is not None  # it stands on the ledger, and nobody has voted
    registration = read_registration(battle.registration)
    assert (registration.candidate, registration.attempt, registration.data_root) == (sha256, 1, DATASET)
    for member in range(VOTERS):
        await vote(town, battle, 100 + member, for_candidate=True)
    await vote(town, battle, 99, for_candidate=False, careless=True)

    over = await until_verdict(town, battle)
    assert over.verdict is not None
    assert (over.verdict.state, over.verdict.held_out) == (VerdictState.RELEASED, 1)
    post = await town.community.person("ben").message(str(town.channel), str(over.round.result_message_id))
    assert "voters prefer the candidate" in post.text
    assert "Not measured, so not a reason against a release: adherence, diversity." in post.text
    await _until_state(database, battle, CandidateState.WON)
    made = await mira.command("admin model release", candidate=candidate_id)
    assert "Release 1 is live" in made.text
    assert "on its way to the ledger" in made.text
    async with database.connect() as connection:
        live = await releases.live_or_none(connection, "tiny")
        documents = await all_documents(connection)
    assert live is not None
    assert live.manifest_sha256 is not None
    manifest = ReleaseManifest.from_bytes(documents[live.manifest_sha256])
    assert (manifest.adapter, manifest.dataset, manifest.recipe["seed"]) == (sha256, DATASET, 1)
    await _until_final(database, CommitmentKind.RELEASE, live.manifest_sha256)
    report = await audit(url, address, documents=documents, gate=judge_by_registration)
    assert report.ok, report.problems
    assert not [note for note in report.notes if "Nobody shows" in note or "nobody shows" in note]  # salt, order
    [attempt] = report.attempts
    assert (attempt.counted_voters, attempt.evidence_milli) == (over.verdict.voters, over.verdict.evidence_milli)
    assert (attempt.release, attempt.held_out, attempt.for_live) == (2, 1, 2)
    assert attempt.for_candidate == 2 * VOTERS
    hidden = {name: text for name, text in documents.items() if name != battle.registration_hash}
    assert not (await audit(url, address, documents=hidden)).ok


async def _until_final(database: AsyncEngine, kind: CommitmentKind, root: str) -> None:
    async def look() -> bool | None:
        status = await commitment_status(database, kind, root)
        return True if status is not None and status.on_ledger else None

    await wait_for(f"the {kind} on the ledger", look, seconds=900, every=0.5)


async def _until_state(database: AsyncEngine, battle: Battle, state: CandidateState) -> Candidate:
    async def look() -> Candidate | None:
        candidate = await candidate_of(database, battle)
        return candidate if candidate.state == state else None

    return await wait_for(f"the candidate to be {state}", look, seconds=300, every=0.2)


async def test_a_candidate_that_loses_is_refused_with_the_reason(town: Town) -> None:
    """The votes for the live model end the round early, and no command releases it."""
    stand_in_for_workers(town)
    battle = await until_open(town, (await begin_battle(town)).round.id)
    for member in range(VOTERS):
        await vote(town, battle, 100 + member, for_candidate=False)
    over = await until_verdict(town, battle)
    assert over.verdict is not None
    assert over.verdict.state == VerdictState.REFUSED
    candidate = await _until_state(town.database, battle, CandidateState.LOST)
    assert "The live model is better" in (candidate.reason or "")
    refused = await town.mira.command("admin model release", candidate=candidate.id)
    assert f"Candidate {candidate.id} is lost, and nothing was released" in refused.text


async def test_an_undecided_candidate_has_lost_with_the_reason(town: Town) -> None:
    """Too few votes release nothing, however they fall."""
    stand_in_for_workers(town)
    battle = await until_open(town, (await begin_battle(town)).round.id)
    await vote(town, battle, 100, for_candidate=True)
    over = await end_battle(town, battle.round.id)
    assert over.verdict is not None
    assert over.verdict.state == VerdictState.UNDECIDED
    candidate = await _until_state(town.database, battle, CandidateState.LOST)
    assert "Undecided after 1 voter at the close" in (candidate.reason or "")
    assert "Too few active voters to release on evidence: 1, and 9 are needed" in (candidate.reason or "")


async def test_a_candidate_that_moves_less_is_refused_whatever_the_votes_say(town: Town) -> None:
    """The cards of both sides tell the motion; the round ends at its first look."""
    stand_in_for_workers(town, motions=(0.1, 0.2))
    battle = await until_open(town, (await begin_battle(town)).round.id)
    for member in range(VOTERS):
        await vote(town, battle, 100 + member, for_candidate=True)
    over = await until_verdict(town, battle)
    assert over.verdict is not None
    assert "Its motion fell to 50 %" in over.verdict.reasons[0]
    await _until_state(town.database, battle, CandidateState.LOST)


async def test_a_winner_over_a_release_that_is_gone_is_not_released(town: Town) -> None:
    """A release came in between: it was never compared with that one."""
    stand_in_for_workers(town)
    battle = await until_open(town, (await begin_battle(town)).round.id)
    for member in range(VOTERS):
        await vote(town, battle, 100 + member, for_candidate=True)
    await until_verdict(town, battle)
    candidate = await _until_state(town.database, battle, CandidateState.WON)
    await a_release(town.database)
    late = await town.mira.command("admin model release", candidate=candidate.id)
    assert "isn't live any more" in late.text
    behind, _ = await a_ready_candidate(town, 0.25)
    await post_prompts(town)
    turned_down = await town.mira.command("admin model battle", candidate=behind, duration="1h", pairs=4)
    assert "continues a release that isn't live any more" in turned_down.text


async def test_a_battle_without_enough_held_out_prompts_is_not_opened(town: Town) -> None:
    """The moderator reads how many are lacking, and what to do; nothing is registered."""
    use_rule(town)
    trained = [prompt for prompt in (f"a bird number {n}" for n in range(60)) if split_of(prompt) == "train"][:2]
    await post_prompts(town, [*trained, HELD_OUT[0]])
    number, _ = await a_ready_candidate(town)
    refused = await town.mira.command("admin model battle", candidate=number, duration="1h", pairs=4)
    assert (
        f"A battle round of 4 pairs needs 2 prompts that candidate {number} was not trained on, and there are 1. 2 "
        "posted prompts were in its training." in refused.text
    )
    assert await battles.latest_or_none(town.database, town.guild) is None


async def test_a_video_of_another_model_is_not_shown(town: Town) -> None:
    """A worker with another revision than the registered one would have members judge another model."""
    stand_in_for_workers(town, revision="another")
    battle = await begin_battle(town)
    over = await until_battle(town, battle.round.id, "the verdict", lambda now: now.round.result_message_id is not None)
    assert over.round.trouble is not None
    pairs = await battles.pairs_of(town.database, battle.round.id)
    assert {pair.reason for pair in pairs} == {
        "A worker rendered with another model than the one that the round was registered for."
    }


async def test_a_bot_killed_between_close_and_verdict_goes_on(tmp_path: Path) -> None:
    """The round is judged after the next start, once, and its candidate settled."""
    reached, never = asyncio.Event(), asyncio.Event()
    async with open_town(tmp_path, answer_s=PATIENT_S) as town:
        stand_in_for_workers(town)
        rule = a_rule(catch_answers=0)
        begun = await begin_battle(town, rule=rule, battles_=2, catches=0)
        battle = await until_open(town, begun.round.id)
        await vote(town, battle, 100, for_candidate=True)

        async def judge(*_arguments: object, closed: bool) -> object:
            reached.set()
            return await never.wait()

        town.app.learning.battles.workflow._judge = judge  # type: ignore[assignment]  # a judge who is never done
        async with town.database.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == battle.round.id).values(closes_at_ms=1))
        await town.app.learning.battles.workflow.wake(battle.round.id)
        await asyncio.wait_for(reached.wait(), 300)
        assert (await battles.get(town.database, battle.round.id)).verdict is None
        await town.restart()
        over = await until_battle(
            town, battle.round.id, "the verdict", lambda now: now.round.result_message_id is not None
        )
        assert over.verdict is not None
        assert (over.verdict.state, over.verdict.votes) == (VerdictState.UNDECIDED, 2)
        await _until_state(town.database, battle, CandidateState.LOST)
        texts = [message.text for message in await town.shown(town.channel)]
        assert sum(f"Verdict of battle round {battle.round.number}:" in text for text in texts) == 1
