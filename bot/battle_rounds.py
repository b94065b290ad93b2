"""The parts of battle rounds, built by hand for the composition root: store, posts, workflows and commands."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.cogs.battles.commands import BattleMembers, BattleOpening
from bot.cogs.battles.voting import BattleVoting
from bot.domain.battles import BallotSize
from bot.files.transfer import FileTransfer
from bot.posts.battles import BattlePosts
from bot.store.battles.ballots import Ballots
from bot.workflows.battle import BattleWorkflow
from bot.workflows.battle_pair import BattlePairWorkflow
from bot.workflows.battles.jobs import JobsOfReleases
from bot.workflows.battles.judging import GateJudge
from bot.workflows.battles.ledger import OutboxBattles
from bot.workflows.battles.registration import GateRegistrar
from bot.workflows.battles.results import settle_candidate
from generation.feedback.registration import Eligibility, Rule, rule_for
from generation.queue.engine import Engine

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
    ) -> None:
        """`model_id` is the live model's; `grace_s` how many seconds later a round closes on the ledger."""
        ballots = Ballots(database, pepper)
        self.workflow = BattleWorkflow(
            database=database,
            engine=engine,
            posts=BattlePosts(database=database, client=client),
            ballots=ballots,
            ledger=OutboxBattles(database, grace_s),
            register_plan=GateRegistrar(model_id, pepper, RULE),
            judge=GateJudge(database),
            hand_on=settle_candidate,
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
        )
        self.members = BattleMembers(voting=self.voting)

    def register(self, engine: Engine) -> None:
        """Register the workflows with the engine, before the engine is launched."""
        self.workflow.register(engine)
        self.pairs.register(engine)
