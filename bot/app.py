"""The composition root of the bot's process: every object is built here, by hand, and closed in reverse order.

Each object gets exactly what it uses. Only `bot/cli` imports this module.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import discord
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client, point_at, run_client
from bot.cogs.buttons import Buttons
from bot.cogs.help import Help
from bot.cogs.learning.training import Training
from bot.cogs.ledger_notices import LedgerNotices
from bot.cogs.prompts import Prompts
from bot.cogs.provenance import Provenance
from bot.cogs.receipts import Receipts
from bot.cogs.removal import Removal
from bot.cogs.replies import answer_error
from bot.cogs.reviews import Reviews
from bot.cogs.rounds import Rounds, Setup
from bot.cogs.standings import Standings
from bot.cogs.voting import Voting
from bot.cogs.wallet import Wallets
from bot.database import open_and_upgrade
from bot.domain.errors import OperatorError, UnreachableError
from bot.domain.policy import Quota
from bot.files.tastes import Tastes
from bot.files.transfer import FileTransfer
from bot.learning_loop import LearningLoop
from bot.ledger_status import LedgerStatus
from bot.monitoring.bot_gauges import gauges_of
from bot.monitoring.health import Health, Watch, database_watch
from bot.monitoring.metrics import Metrics, serving
from bot.monitoring.process_metrics import ProcessMetrics
from bot.posts.progress import ProgressMessages
from bot.posts.reviews import ReviewPosts
from bot.posts.rounds import RoundPosts
from bot.posts.videos import VideoPosts
from bot.posts.vote_counts import VoteCounts
from bot.posts.winners import WinnerVideos
from bot.prompt_filter.rules_file import open_rules
from bot.round_results import Results
from bot.settings import Settings, reveal
from bot.signer import open_signer, public_ledger, relayer_settings
from bot.signing.page import SigningPage
from bot.signing.requests import SigningRequests
from bot.store.vote_writer import VoteWriter
from bot.sync.reactions import ReactionSync
from bot.sync.ticks import Ticks
from bot.sync.view_counts import ViewCounts
from bot.sync.wallet_events import WalletEvents
from bot.video_hosts import hearing, open_host, reach_of
from bot.workflows.closing import ClosingWorkflow
from bot.workflows.hosting import HostingWorkflow
from bot.workflows.recovery import Recovery
from bot.workflows.removal import RemovalWorkflow
from bot.workflows.review import ReviewWorkflow
from bot.workflows.round import RoundWorkflow
from bot.workflows.video import VideoWorkflow
from bot.workflows.video_queue import VideoQueue
from contracts.ledger.client import Ledger
from contracts.relayer.relayer import Relayer
from contracts.signers.keystore import Signer
from generation.jobs import BOT_QUEUE, gpu_queue, release_queue
from generation.queue.engine import Engine, QueueSpec
from generation.queue.portable_json import UnsafeEngineError

log = logging.getLogger(__name__)

COUNT_S = 0.5  # between two looks at the votes that cards are to show
RECOVERY_S = 5.0  # between two looks at rounds with something left to do
BLOCK_S = 12.0  # of the slowest chains that people use
WORKFLOWS_AT_ONCE = 4000  # of videos, their hosting, and rounds in one bot; nearly all of them only wait


class App:
    """The bot: its objects, what it begins when the client has logged in, and its end."""

    def __init__(self, settings: Settings, database: AsyncEngine, signer: Signer) -> None:
        self._settings = settings
        self._database = database
        self._pepper = reveal(settings.voter_pepper).encode()
        self._quota = Quota(prompts_a_round=settings.prompts_a_round, waiting=settings.prompts_waiting)
        self._on_ledger_s = settings.flush_s + BLOCK_S * (1 + settings.confirmations)  # gathered, sent, confirmed
        self._ticks = Ticks()
        self._ledger_tasks: list[asyncio.Task[None]] = []
        self._open = False
        self._build_connections(signer)
        self._build_votes()
        self._build_posts()
        self._build_workflows()
        self.client.attach(cogs=self._build_cogs(), on_open=self.open, on_close=self.close, on_error=answer_error)

    def _build_connections(self, signer: Signer) -> None:
        """Build what talks to others: Discord, the durable engine, the video host, the ledger."""
        settings, database = self._settings, self._database
        self.client = Client()
        self.engine = Engine(
            database,
            settings.database_url,
            role="bot",
            queues=[
                QueueSpec(BOT_QUEUE, WORKFLOWS_AT_ONCE),
                *(
                    QueueSpec(queue(settings.model_class, settings.model_id), 1, one_per_member=True, listen=False)
                    for queue in (gpu_queue, release_queue)
                ),
            ],
        )
        self.host = open_host(settings)
        self.ledger = Ledger(settings.rpc_url or "", settings.ledger_address or "")
        self.relayer = Relayer(database, self.ledger, signer, relayer_settings(settings))
        self._links = public_ledger(settings)
        self._results = Results(database, self.ledger)
        self._ledger_status = LedgerStatus(database=database, links=self._links, relayer_trouble=self._relayer_trouble)

    def _build_votes(self) -> None:
        """Build the vote writer, which asks for cards that it has not seen, and what is compared with the votes."""
        database = self._database
        self.votes = VoteWriter(
            database, self._pepper, look_at=lambda video_id: self.reactions.begin_to_look_at(video_id)
        )
        self.reactions = ReactionSync(database=database, client=self.client, votes=self.votes)
        self.wallet_events = WalletEvents(database=database, ledger=self.ledger, votes=self.votes)
        self._signing = SigningRequests(
            database=database, ledger=self.ledger, pepper=self._pepper, on_signed=self.relayer.nudge
        )
        self.signing_page = SigningPage(
            database=database, signing=self._signing, rpc=self._links.rpc, on_ledger_s=self._on_ledger_s
        )

    def _build_posts(self) -> None:
        """Build all that posts on Discord."""
        settings, database, client = self._settings, self._database, self.client
        reach = reach_of(settings)
        self.progress = ProgressMessages(
            database=database, client=client, progress_s=settings.progress_s, model_class=settings.model_class
        )
        self.video_posts = VideoPosts(
            database=database,
            client=client,
            data_dir=settings.data_dir,
            host_name="Livepeer" if settings.video_host == "livepeer" else None,
            progress=self.progress,
            reach=reach,
        )
        self.vote_counts = VoteCounts(database=database, posts=self.video_posts)
        self.votes.on_recorded = self.vote_counts.note_votes
        self._round_posts = RoundPosts(
            database=database,
            client=client,
            results=self._results,
            ledger_status=self._ledger_status,
            winners=WinnerVideos(client=client, posts=self.video_posts, data_dir=settings.data_dir, reach=reach),
        )
        self._review_posts = ReviewPosts(database=database, client=client, model_class=settings.model_class)

    def _build_workflows(self) -> None:
        """Build the workflows, and what recovers those that failed."""
        settings, database, engine = self._settings, self._database, self.engine
        self._queue = VideoQueue(database=database, engine=engine)
        hosting = HostingWorkflow(database=database, host=self.host, posts=self.video_posts)
        self._reviews = ReviewWorkflow(
            database=database,
            engine=engine,
            queue=self._queue,
            posts=self._review_posts,
            progress=self.progress,
            quota=self._quota,
            model_id=settings.model_id,
        )
        self._removals = RemovalWorkflow(
            database=database,
            engine=engine,
            posts=self.video_posts,
            round_posts=self._round_posts,
            progress=self.progress,
            hosting=hosting,
            data_dir=settings.data_dir,
        )
        closing = ClosingWorkflow(
            database=database,
            engine=engine,
            posts=self._round_posts,
            video_posts=self.video_posts,
            progress=self.progress,
        )
        self.rounds = RoundWorkflow(
            database=database,
            engine=engine,
            queue=self._queue,
            posts=self._round_posts,
            closing=closing,
            wallet_events=self.wallet_events,
        )
        transfer = FileTransfer(database=database, engine=engine, client=self.client, data_dir=settings.data_dir)
        self.learning = LearningLoop(
            settings=settings,
            database=database,
            engine=engine,
            client=self.client,
            transfer=transfer,
            pepper=self._pepper,
        )
        videos = VideoWorkflow(
            database=database,
            engine=engine,
            client=self.client,
            posts=self.video_posts,
            progress=self.progress,
            reviews=self._reviews,
            transfer=transfer,
            reactions=self.reactions,
            data_dir=settings.data_dir,
            model_class=settings.model_class,
            tastes=Tastes(database=database, data_dir=settings.data_dir, best_of=settings.best_of),
            host_patience_s=settings.host_patience_s,
        )
        for workflow in (videos, hosting, self._removals, self._reviews, self.rounds, closing):
            workflow.register(engine)
        self.recovery = Recovery(
            database=database,
            engine=engine,
            round_workflow=self.rounds,
            posts=self._round_posts,
            progress=self.progress,
            vote_counts=self.vote_counts,
        )

    def _build_cogs(self) -> list[commands.Cog]:
        """Build what members and moderators meet."""
        settings, database = self._settings, self._database
        notices = LedgerNotices(database=database, pepper=self._pepper)
        training = Training(database=database)
        prompts = Prompts(
            database=database,
            prompt_rules=open_rules(settings.prompt_rules),
            reviews=self._reviews,
            queue=self._queue,
            notices=notices,
            training=training,
            quota=self._quota,
            model_id=settings.model_id,
            model_class=settings.model_class,
        )
        wallets = Wallets(
            database=database,
            signing=self._signing,
            signing_url=settings.signing_url,
            on_ledger_s=self._on_ledger_s,
        )
        voting = Voting(
            database=database,
            votes=self.votes,
            reactions=self.reactions,
            notices=notices,
            wallets=wallets,
            prompts=prompts,
            training=training,
            on_ledger_s=self._on_ledger_s,
        )
        rounds = Rounds(
            database=database,
            client=self.client,
            workflow=self.rounds,
            recovery=self.recovery,
            reactions=self.reactions,
            ledger_status=self._ledger_status,
            grace_s=settings.chain_grace_s,
        )
        reviews = Reviews(database=database, reviews=self._reviews, data_dir=settings.data_dir)
        standings = Standings(
            database=database,
            results=self._results,
            view_counts=ViewCounts(self.host),
            notices=notices,
            ledger_status=self._ledger_status,
        )
        return [
            Help(database=database, model_id=settings.model_id, training=training),
            *self.learning.cogs,
            prompts,
            voting,
            rounds,
            Setup(database=database, recovery=self.recovery),
            standings,
            Receipts(database=database, pepper=self._pepper, notices=notices, links=self._links),
            Provenance(database=database),
            Removal(database=database, queue=self._queue, removals=self._removals),
            reviews,
            wallets,
            training,
            Buttons({"v1": voting, "w1": wallets, "r1": reviews, "s1": standings, "b1": self.learning.battles.voting}),
        ]

    async def open(self) -> None:
        """Begin all work. The client calls this on its loop when it has logged in."""
        self._open = True
        self.votes.start()
        await self.engine.launch()
        await self.recovery.start()
        self._ledger_tasks = [
            asyncio.create_task(self.relayer.run(), name="relayer"),
            asyncio.create_task(self.wallet_events.run(), name="wallet events"),
        ]
        self._ticks.start(
            (
                (self.progress.tick, 1.0),
                (self.vote_counts.tick, COUNT_S),
                (self.recovery.tick, RECOVERY_S),
                *self.learning.ticks,
            )
        )

    async def close(self) -> None:
        """End all work; what is unfinished goes on at the next start. Safe to repeat."""
        if not self._open:
            return
        self._open = False
        self._ticks.close()
        await self.recovery.close()
        await self.vote_counts.close()
        await self.votes.close()
        await self.engine.close()
        for task in self._ledger_tasks:
            while not task.done():  # a driver may swallow one cancellation
                task.cancel()
                await asyncio.wait({task}, timeout=1)
        await self.ledger.close()
        await self.host.aclose()

    async def gauges(self) -> dict[str, float]:
        """Return the metrics that only this process knows."""
        latency_s = self.client.latency
        return gauges_of(await self.relayer.status(), connected=bool(self.client.connected), latency_s=latency_s)

    def health(self) -> Health:
        """Return the health of what this process needs for its work."""
        patience = self._settings.unhealthy_s
        watches = {
            "Discord": Watch(self.client.gateway_trouble, patience),
            "chain": Watch(self._relayer_trouble, patience),
        }
        return Health({"database": database_watch(self._database), **watches})

    async def _relayer_trouble(self) -> str | None:
        return (await self.relayer.status()).trouble


async def run_bot(settings: Settings, stop: asyncio.Event) -> None:
    """Run the bot until `stop` is set. Raises OperatorError when it cannot start."""
    signer = await open_signer(settings)
    database = await open_and_upgrade(settings)
    app = None
    try:
        point_at(settings)
        app = App(settings, database, signer)
        process = ProcessMetrics("bot", settings.data_dir, discord_errors=app.client.errors)
        metrics = Metrics(database, "bot", gauges=app.gauges, process=process)
        app.votes.observe = metrics.observe_ack
        async with (
            serving(settings.metrics_host, settings.metrics_port, metrics, app.health()),
            hearing(settings, app.host),
            app.signing_page.serving(settings.page_host, settings.page_port, settings.signing_url or ""),
        ):
            await run_client(app.client, reveal(settings.discord_token), stop)
    except UnsafeEngineError as error:
        raise OperatorError(str(error)) from error
    except discord.LoginFailure as error:
        raise OperatorError("Discord refused the token. Check FLOCK_DISCORD_TOKEN in the developer portal.") from error
    except (discord.HTTPException, discord.GatewayNotFound, aiohttp.ClientError, OSError) as error:
        raise UnreachableError(
            f"Discord cannot be reached ({type(error).__name__}). Nothing is lost: start again when it answers."
        ) from error
    finally:
        if app is not None:
            await app.close()
        await database.dispose()
