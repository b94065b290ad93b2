"""A battle round and the release that comes of it, by a bot that is killed at its steps: each thing happens once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from bot.demo.discord.people import Message, Person, wait_for
from bot.domain.battles import Battle, VerdictState
from bot.files.filmstrips import read_filmstrip
from bot.store.battles import rounds as battles
from bot.store.battles.ballots import Ballots
from bot.store.learning import candidates, releases
from bot.workflows.battles.ledger import OutboxBattles
from contracts.audit.audit import audit
from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from contracts.outbox.commitments import commitment_status, enqueue_dataset
from contracts.outbox.documents import all_documents
from generation.feedback.dataset.prompts import split_of
from migrations.schema import battle_ballots, battle_pairs, outbox, rounds, videos
from migrations.schema import releases as release_rows
from migrations.states.battles import BattleChoice
from migrations.states.learning import CandidateState
from migrations.states.ledger import CommitmentKind
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.battle_town import REVISION
from tests.builders.bot_process import PATIENT_S, PEPPER, Death, House, open_house
from tests.builders.chain_process import ChainProcess
from tests.builders.releases import a_candidate
from tests.builders.scripted_worker import PNG, ScriptedWorker, serving

DATASET = "da" * 32
# Held out of every training: the candidate's data set is on no machine, so no other prompt serves.
HELD_OUT = [prompt for prompt in (f"fox number {number}" for number in range(100)) if split_of(prompt) == "test"][:3]
VOTERS = 11  # as many as release where all agree, and two more
PAIRS = 4  # that are asked for; a catch pair comes on top
BALLOT = 3  # pairs of a full ballot, one of them a catch pair
POSTED = "Your votes moved this: release"


def step(name: str, moment: str = "done") -> Death:
    return {"step": name, "moment": moment}


def place(name: str, when: str = "after") -> Death:
    return {"place": name, "when": when}


# By the part of the story in which the bot dies there, in the order in which it comes to them.
DEATHS: dict[str, dict[str, Death]] = {
    "command": {
        "registered, not committed": place("bot.workflows.battle:BattleWorkflow.begin"),
        "registered, not answered": place("bot.cogs.battles.commands:BattleOpening.begin"),
    },
    "making": {
        "announced, not noted": step("announce", "sent"),
        "announced": step("announce"),
        "pairs listed": step("list the pairs"),
        "a job made": step("look"),
        "rendered": step("rendered"),
        "brought": step("bring the video"),
        "made blind": step("make the pair blind"),
        "settled": step("settle the pair"),
        "pairs there": step("wait for the pairs"),
        "pairs entered": step("enter the pairs"),
        "registration there": step("wait for the registration"),
        "opened": step("open", "sent"),
    },
    "choice": {"chosen, not answered": place("bot.store.battles.ballots:Ballots.cast")},
    "final": {
        "final, not committed": place("bot.workflows.battle:BattleWorkflow.vote_is_final"),
        "final, not answered": place("bot.cogs.battles.voting:BattleVoting._show", "before"),
    },
    "closing": {
        "judged early": step("judge so far"),
        "closed": step("close"),
        "judged": step("judge"),
        "revealed": step("reveal the sides"),
        "handed on": step("hand the verdict on"),
        "verdict sent": step("post the verdict", "sent"),
        "verdict posted": step("post the verdict"),
        "announcement closed": step("close the announcement"),
    },
    "release": {
        "released, not committed": place("bot.workflows.learning.releasing:make_release"),
        "released, not answered": place("bot.cogs.learning.model:Admin._release"),
    },
    "telling": {
        "filmstrip asked for": step("ask for the filmstrip"),
        "filmstrip brought": step("bring the filmstrip"),
        "release sent": step("post the release", "sent"),
        "release posted": step("post the release"),
    },
}
QUICK = frozenset({
    "registered, not answered", "announced, not noted", "chosen, not answered", "closed", "released, not answered",
    "release sent",
})  # fmt: skip


class Story:
    """A candidate from its battle to its release, and the deaths on the way."""

    def __init__(self, house: House, worker: ScriptedWorker, wanted: Callable[[str], bool]) -> None:
        self.house = house
        self._worker = worker
        self._wanted = wanted
        self._ballots = Ballots(house.database, PEPPER.encode())
        self._ledger = OutboxBattles(house.database, 60)

    async def die_in(self, part: str, act: Callable[[], Awaitable[object]] | None = None) -> None:
        """Let the bot die at each wanted place of a part, one after the other."""
        for name, death in DEATHS[part].items():
            if self._wanted(name):
                await self.house.stop()
                await self.house.die_at(name, death, act)

    async def live(self) -> None:
        """Have a bot that lives, if none does."""
        if self.house.process is None:
            self.house.start()
        await self.house.online()

    async def begin(self, candidate_id: int) -> Battle:
        async def ask() -> object:
            mira = self.house.mira
            return await mira.command("admin model battle", candidate=candidate_id, duration="1h", pairs=PAIRS)

        await self.die_in("command", ask)
        begun = await battles.latest_or_none(self.house.database, self.house.guild)
        if begun is None:
            await self.live()
            await ask()
        await self.die_in("making")
        await self.live()
        begun = await battles.latest_or_none(self.house.database, self.house.guild)
        assert begun is not None
        return await self.until(begun, "the round to open", lambda now: now.round.status == "open")

    async def until(self, battle: Battle, what: str, is_so: Callable[[Battle], bool]) -> Battle:
        async def look() -> Battle | None:
            now = await battles.get(self.house.database, battle.round.id)
            return now if is_so(now) else None

        return await wait_for(f"{what}\n{self.house.log()}", look, seconds=PATIENT_S, every=0.3)

    # ------------------------------------------------------------------ votes

    async def vote_in_discord(self, battle: Battle) -> None:
        """A full ballot of ana's, who presses again what nobody answered."""
        ana = self.house.community.person("ana")
        announcement = await ana.message(str(self.house.channel), str(battle.round.announcement_id))
        await ana.press(announcement, "Show me a pair")
        for number in range(1, BALLOT + 1):
            shown = await self._pair(ana, number)
            label = await self._for_candidate(shown)

            async def choose(shown: Message = shown, label: str = label) -> object:
                return await ana.press(shown, label)

            async def finish(shown: Message = shown) -> object:
                return await ana.press(await ana.message(shown.channel_id, shown.id), "Next")

            if number == 1:
                await self.die_in("choice", choose)
                await self.live()
            await choose()
            if number == 1:
                await self.die_in("final", finish)
                await self.live()
            await finish()

    async def _pair(self, person: Person, number: int) -> Message:
        """A member's newest pair, once they have been shown so many different ones."""

        async def look() -> Message | None:
            messages = await person.messages(str(self.house.channel))
            pairs = [each for each in messages if each.ephemeral and len(each.attachments) == 2 and each.buttons]
            if pairs and f"You: {number - 1} of {BALLOT}" in pairs[-1].text:
                return pairs[-1]
            return None

        return await wait_for(f"pair {number}\n{self.house.log()}", look, seconds=PATIENT_S)

    async def _for_candidate(self, shown: Message) -> str:
        pair_id = int(shown.button("Next").custom_id.rpartition(":")[2])
        pair = await battles.pair_or_none(self.house.database, pair_id)
        assert pair is not None
        return "A" if pair.first_is_a else "B"

    async def vote(self, battle: Battle, member: int) -> None:
        """A full ballot of another member, as the bot keeps it."""
        for _ in range(BALLOT):
            pair_id = await self._ballots.deal(battle.round.id, member, 100.0)
            assert pair_id is not None
            pair = await battles.pair_or_none(self.house.database, pair_id)
            assert pair is not None
            choice = BattleChoice.A if pair.first_is_a else BattleChoice.B
            await self._ballots.cast(pair_id, self.house.guild, member, choice)
            async with self.house.database.begin() as connection:
                final = await self._ballots.finish_within(connection, pair_id, self.house.guild, member)
                assert final is not None
                await self._ledger.vote(connection, battle, [final])

    # ------------------------------------------------------------------ the end

    async def end(self, battle: Battle, candidate_id: int) -> Battle:
        """The round ends as the votes decide, and the candidate is released."""

        async def wake() -> None:
            await self._worker.engine.wake(f"battle-{battle.round.id}")

        await self.die_in("closing", wake)
        await self.live()
        await wake()
        over = await self.until(battle, "the verdict", lambda now: now.round.result_message_id is not None)
        await self._until_won(candidate_id)

        async def release() -> object:
            return await self.house.mira.command("admin model release", candidate=candidate_id)

        await self.die_in("release", release)
        if not await self.count(release_rows):
            await self.live()
            await release()
        await self.die_in("telling")
        await self.live()
        await release()  # once more, as somebody does who got no answer
        await self._until_done(f"battle-{battle.round.id}", "release-tiny-1")
        return over

    async def _until_done(self, *workflows: str) -> None:
        async def look() -> bool | None:
            states = await self._worker.engine.states(workflows)
            return True if [states.get(name) for name in workflows] == ["done"] * len(workflows) else None

        await wait_for(f"the end of {workflows}\n{self.house.log()}", look, seconds=PATIENT_S)

    async def _until_won(self, candidate_id: int) -> None:
        async def look() -> bool | None:
            async with self.house.database.connect() as connection:
                candidate = await candidates.get(connection, candidate_id)
            return True if candidate.state == CandidateState.WON else None

        await wait_for("the candidate to have won", look, seconds=PATIENT_S)

    async def count(self, table: Any, *conditions: Any) -> int:
        async with self.house.database.connect() as connection:
            return int(await connection.scalar(select(func.count()).select_from(table).where(*conditions)) or 0)


async def a_house_with_prompts(house: House) -> tuple[int, str]:
    """Members' prompts of an earlier round, and a candidate whose data set is entered for the ledger; its hash."""
    house.start()
    await house.online()
    _, sha256 = write_adapter(house.data_dir, adapter_bytes())
    candidate_id = await a_candidate(
        house.database, CandidateState.READY, adapter_sha256=sha256, base_revision=REVISION, data_root=DATASET
    )
    async with house.database.begin() as connection:
        made = await connection.execute(
            insert(rounds)
            .values(
                guild_id=house.guild, number=1000, task="t", opened_by=1, channel_id=house.channel, status="closed",
                opens_at_ms=0, closes_at_ms=1, chain_key="00" * 32, result_message_id=1,
            )
            .returning(rounds.c.id)
        )  # fmt: skip
        round_id = int(made.scalar_one())
        for number, prompt in enumerate(HELD_OUT):
            await connection.execute(
                insert(videos).values(
                    id=str(number + 1), guild_id=house.guild, round_id=round_id, member_id=1, member_name="m",
                    prompt=prompt, status="published", created_at_ms=number, cancel_requested=False, seed=1,
                    model_id="tiny", chain_key=f"{number:064x}",
                )
            )  # fmt: skip
        await enqueue_dataset(connection, root=DATASET, description=b"a data set")
    await until_final(house, CommitmentKind.DATASET, DATASET)
    await house.stop()
    return candidate_id, sha256


async def until_final(house: House, kind: CommitmentKind, root: str) -> None:
    async def look() -> bool | None:
        status = await commitment_status(house.database, kind, root)
        return True if status is not None and status.on_ledger else None

    await wait_for(f"the {kind} on the ledger\n{house.log()}", look, seconds=PATIENT_S, every=0.5)


async def tell(folder: Path, wanted: Callable[[str], bool]) -> None:
    """The whole story on a ledger, and what is left of it."""
    chain = ChainProcess(folder / "chain")
    try:
        ledger = await deploy(chain.url, chain.signer, folder / "ledger.json")
        settings = {"rpc_url": chain.url, "ledger_address": ledger.address, "keystore": chain.ready["key_file"]}
        async with open_house(folder, **settings) as house:
            url = f"sqlite:///{folder / 'flock.db'}"
            async with serving(house.database, url, house.data_dir) as worker:
                candidate_id, sha256 = await a_house_with_prompts(house)
                story = Story(house, worker, wanted)
                battle = await story.begin(candidate_id)
                await story.vote_in_discord(battle)
                await house.stop()  # which would close the round as soon as the votes decide
                for member in range(VOTERS):
                    await story.vote(battle, 100 + member)
                over = await story.end(battle, candidate_id)
                await check(story, over, worker, sha256)
                await check_ledger(house, over, chain.url, ledger.address)
        assert house.died_at == [name for part in DEATHS.values() for name in part if wanted(name)]
    finally:
        chain.stop()


async def check(story: Story, battle: Battle, worker: ScriptedWorker, sha256: str) -> None:
    """Rows, files and posts: everything is there once."""
    house = story.house
    texts = Counter[str]()
    number = battle.round.number
    for message in await house.shown():
        for words in (f"Battle round {number}:", f"Verdict of battle round {number}:", POSTED):
            texts[words] += words in message.text and not message.ephemeral
    assert set(texts.values()) == {1}, texts
    pairs = await story.count(battle_pairs)
    assert sorted(worker.rendered.values()) == [1] * 2 * pairs
    assert worker.filmstrips == 1
    assert read_filmstrip(house.data_dir, "tiny", 1) == PNG
    assert battle.verdict is not None
    assert battle.verdict.state == VerdictState.RELEASED
    async with house.database.connect() as connection:
        query = select(battle_ballots.c.place).where(battle_ballots.c.place.is_not(None))
        places = sorted((await connection.scalars(query)).all())
        [release] = await releases.history(connection, "tiny")
    assert places == list(range(1, (VOTERS + 1) * BALLOT + 1))
    assert (release.adapter_sha256, release.number, release.parent) == (sha256, 1, None)
    for kind in ("round", "close"):
        assert await story.count(outbox, outbox.c.kind == kind, outbox.c.round_id == battle.round.id) == 1
    assert await story.count(outbox, outbox.c.kind == "battle") == pairs


async def check_ledger(house: House, battle: Battle, url: str, address: str) -> None:
    """One registration, every ballot once, one release: a stranger's audit agrees."""
    async with house.database.connect() as connection:
        live = await releases.live_or_none(connection, "tiny")
        documents = await all_documents(connection)
    assert live is not None
    assert live.manifest_sha256 is not None
    await until_final(house, CommitmentKind.RELEASE, live.manifest_sha256)
    report = await audit(url, address, documents=documents)
    assert report.ok, report.problems
    [attempt] = report.attempts
    assert (attempt.release, attempt.for_candidate, attempt.for_live) == (2, 2 * (VOTERS + 1), 0)
    async with Ledger(url, address) as ledger:
        names = Counter([event.name async for event in ledger.events(0)])
    pairs = len(await battles.pairs_of(house.database, battle.round.id))
    assert (names["RoundOpened"], names["Committed"]) == (1, 2)
    assert names["BattleAdded"] == names["BattleRevealed"] == pairs


@pytest.mark.usefixtures("in_a_long_run")
async def test_a_killed_bot_registers_posts_counts_and_releases_once(tmp_path: Path) -> None:
    """SIGKILL in each part of the story: whoever got no answer asks again, and nothing is doubled by it."""
    await tell(tmp_path, QUICK.__contains__)


@pytest.mark.usefixtures("in_a_long_run")
async def test_wherever_it_is_killed(tmp_path: Path) -> None:
    """At every step of the battle round, and of the release."""
    await tell(tmp_path, lambda _: True)
