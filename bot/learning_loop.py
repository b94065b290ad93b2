"""The parts of the learning loop, built by hand for the composition root: trainings, battle rounds, releases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.cogs.battles.commands import PAIRS, USUAL_S, BattleMembers, BattleOpening
from bot.cogs.battles.voting import BattleVoting
from bot.cogs.learning.model import Admin, Model
from bot.cogs.learning.trainings import Trainings
from bot.domain.battles import BallotSize
from bot.domain.policy import read_duration
from bot.files.cleaning import CleanUp
from bot.files.transfer import FileTransfer
from bot.posts.battles import BattlePosts
from bot.posts.releases import ReleasePosts
from bot.posts.training import TrainingPosts
from bot.settings import Settings
from bot.store.battles.ballots import Ballots
from bot.store.learning.adapters import withdraw_unused
from bot.workflows.battle import BattleWorkflow
from bot.workflows.battle_pair import BattlePairWorkflow
from bot.workflows.battle_parts import HandOn
from bot.workflows.battles.jobs import JobsOfReleases
from bot.workflows.battles.judging import GateJudge
from bot.workflows.battles.ledger import OutboxBattles
from bot.workflows.battles.registration import GateRegistrar
from bot.workflows.battles.results import settle_candidate
from bot.workflows.learning.automatic import AutomaticBattles, AutomaticReleases
from bot.workflows.learning.release_post import ReleaseAnnouncements
from bot.workflows.learning.releasing import Releasing
from generation.feedback.registration import Eligibility, Rule, rule_for
from generation.queue.engine import Engine

TRAINING_S = 60.0  # between two looks for new votes to train on
WITHDRAW_S = 3600.0  # between two looks at adapters that nobody asks for
CLEAN_S = 3600.0  # between two looks at the files of what is over
# Of every community, as long as it has no rule of its own: a week in the server, and three votes there.
ELIGIBILITY = Eligibility(member_days=7, votes_before=3)
RULE: Rule = rule_for(1, 0)  # each attempt gets its own share of the error budget


class BattleRounds:
    """All that a bot has for battle rounds."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        client: Client,
        transfer: FileTransfer,
        pepper: bytes,
        data_dir: Path,
        model_class: str,
        model_id: str,
        grace_s: int,
        hand_on: HandOn = settle_candidate,
        usual: tuple[int, int] = (USUAL_S, PAIRS),
    ) -> None:
        """`model_id` is the live model's; `grace_s` how many seconds later a round closes on the ledger.

        `hand_on` takes the verdicts; `usual` are the seconds and the pairs of a round that begins by itself.
        """
        ballots = Ballots(database, pepper)
        self.registrar = GateRegistrar(model_id, pepper, RULE)
        self.workflow = BattleWorkflow(
            database=database,
            engine=engine,
            posts=BattlePosts(database=database, client=client),
            ballots=ballots,
            ledger=OutboxBattles(database, grace_s),
            register_plan=self.registrar,
            judge=GateJudge(database),
            hand_on=hand_on,
        )
        self.pairs = BattlePairWorkflow(
            database=database,
            client=client,
            transfer=transfer,
            data_dir=data_dir,
            job_of=JobsOfReleases(database, data_dir, model_class),
        )
        self.voting = BattleVoting(database=database, ballots=ballots, workflow=self.workflow, data_dir=data_dir)
        self.opening = BattleOpening(
            database=database,
            client=client,
            workflow=self.workflow,
            model_id=model_id,
            data_dir=data_dir,
            size=BallotSize.of_rule(RULE),
            eligibility=ELIGIBILITY,
            usual=usual,
        )
        self.members = BattleMembers(voting=self.voting)

    def register(self, engine: Engine) -> None:
        """Register the workflows with the engine, before the engine is launched."""
        self.workflow.register(engine)
        self.pairs.register(engine)


class LearningLoop:
    """All that a bot has for learning from votes."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: AsyncEngine,
        engine: Engine,
        client: Client,
        transfer: FileTransfer,
        pepper: bytes,
    ) -> None:
        self._settings, self._database, self._engine, self._client = settings, database, engine, client
        self.announcements = ReleaseAnnouncements(
            database=database,
            engine=engine,
            posts=ReleasePosts(client=client),
            data_dir=settings.data_dir,
            model_class=settings.model_class,
        )
        self._releasing = Releasing(
            database=database,
            model_id=settings.model_id,
            data_dir=settings.data_dir,
            announcements=self.announcements,
        )
        posts = TrainingPosts(client=client)
        self.releases = AutomaticReleases(
            database=database,
            engine=engine,
            posts=posts,
            make_release=self._releasing.release,
            is_wanted=settings.release_after_battle,
        )
        self.battles = self._build_battles(transfer, pepper)
        self.openings = AutomaticBattles(
            database=database,
            engine=engine,
            posts=posts,
            open_battle=self.battles.opening.open_by_itself,
            next_rule=self.battles.registrar.next_rule,
            eligibility=ELIGIBILITY,
        )
        for part in (self.announcements, self.releases, self.battles, self.openings):
            part.register(engine)
        self.trainings = Trainings(
            settings=settings, database=database, engine=engine, client=client, begin_battle=self.openings.begin
        )
        self.cogs = self._build_cogs()
        self.ticks: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self.trainings.automatic.tick, TRAINING_S),
            (partial(withdraw_unused, database), WITHDRAW_S),
            (CleanUp(database=database, data_dir=settings.data_dir).tick, CLEAN_S),
        ]

    def _build_battles(self, transfer: FileTransfer, pepper: bytes) -> BattleRounds:
        settings = self._settings
        return BattleRounds(
            database=self._database,
            engine=self._engine,
            client=self._client,
            transfer=transfer,
            pepper=pepper,
            data_dir=settings.data_dir,
            model_class=settings.model_class,
            model_id=settings.model_id,
            grace_s=settings.chain_grace_s,
            hand_on=self.releases.hand_on,
            usual=(read_duration(settings.battle_duration), settings.battle_pairs),
        )

    def _build_cogs(self) -> list[commands.Cog]:
        database, model_id, data_dir = self._database, self._settings.model_id, self._settings.data_dir
        return [
            Model(database=database, model_id=model_id, data_dir=data_dir),
            Admin(
                database=database,
                model_id=model_id,
                data_dir=data_dir,
                training=self.trainings.opening,
                releasing=self._releasing,
                battles=self.battles.opening,
            ),
            self.battles.members,
        ]
