"""The parts of battle rounds, built by hand for the composition root: store, posts, workflows and commands."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.cogs.battles.commands import BattleCommands, BattleMembers, BattleOpening
from bot.cogs.battles.voting import BattleVoting
from bot.domain.battles import BallotSize, Contender, Eligibility, register
from bot.files.transfer import FileTransfer
from bot.posts.battles import BattlePosts
from bot.store.battles.ballots import Ballots
from bot.workflows.battle import BattleWorkflow
from bot.workflows.battle_pair import BattlePairWorkflow
from bot.workflows.battle_parts import JobsOfModels, RoundsOnLedger, count_alone, keep_for_moderators
from generation.queue.engine import Engine


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
            ledger=RoundsOnLedger(database, grace_s),
            register_plan=register,
            judge=count_alone,
            hand_on=keep_for_moderators,
        )
        self.pairs = BattlePairWorkflow(
            database=database,
            client=client,
            transfer=transfer,
            data_dir=data_dir,
            job_of=JobsOfModels(model_class),
        )
        self.voting = BattleVoting(database=database, ballots=ballots, workflow=self.workflow, data_dir=data_dir)
        self.opening = BattleOpening(
            database=database,
            client=client,
            workflow=self.workflow,
            live=Contender(model_id),
            size=BallotSize(),
            eligibility=Eligibility(),
        )
        self.commands = BattleCommands(opening=self.opening)
        self.members = BattleMembers(voting=self.voting)

    def register(self, engine: Engine) -> None:
        """Register the workflows with the engine, before the engine is launched."""
        self.workflow.register(engine)
        self.pairs.register(engine)
