"""The composition root of the bot's process: every object is built here, by hand, and closed in reverse order.

Each object gets exactly what it uses. Only `bot/cli` imports this module.
"""

from __future__ import annotations

import asyncio
import logging
import math

import aiohttp
import discord
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client, point_at, run_client
from bot.cogs.buttons import Buttons
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
from bot.domain.ledger_links import PublicLedger, deployed_in
from bot.domain.policy import Quota
from bot.files.transfer import FileTransfer
from bot.ledger_status import LedgerStatus
from bot.monitoring.health import Health, Watch, database_watch
from bot.monitoring.metrics import Metrics, serving
from bot.posts.progress import ProgressMessages
from bot.posts.reviews import ReviewPosts
from bot.posts.rounds import RoundPosts
from bot.posts.videos import VideoPosts
from bot.prompt_filter.rules_file import open_rules
from bot.round_results import Results
from bot.settings import Settings
from bot.signing.page import SigningPage
from bot.signing.requests import SigningRequests
from bot.store.vote_writer import VoteWriter
from bot.sync.reactions import ReactionSync
from bot.sync.view_counts import ViewCounts
from bot.sync.wallet_events import WalletEvents
from bot.video_hosts import hearing, open_host
from bot.workflows.hosting import HostingWorkflow
from bot.workflows.recovery import Recovery
from bot.workflows.removal import RemovalWorkflow
from bot.workflows.review import ReviewWorkflow
from bot.workflows.round import RoundWorkflow
from bot.workflows.video import VideoWorkflow
from bot.workflows.video_queue import VideoQueue
from contracts.ledger.client import Ledger
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.signers.keystore import Signer, SignerError, open_key_file, open_keystore
from contracts.signers.kms import open_kms
from contracts.units import GWEI
from generation.jobs import BOT_QUEUE, gpu_queue
from generation.queue.engine import Engine, QueueSpec
from generation.queue.portable_json import UnsafeEngineError

log = logging.getLogger(__name__)

RELAYER_LEASE_S = 15.0  # a killed bot's successor relays after that long
RECOVERY_S = 5.0  # between two looks at rounds with something left to do
BLOCK_S = 12.0  # of the slowest chains that people use
WORKFLOWS_AT_ONCE = 4000  # of videos, their hosting, and rounds in one bot; nearly all of them only wait


class App:
    """The bot: its objects, what it begins when the client has logged in, and its end."""

    def __init__(self, settings: Settings, database: AsyncEngine, signer: Signer) -> None:
        self._settings = settings
        self._database = database
        pepper = secret(settings.voter_pepper).encode()
        quota = Quota(prompts_a_round=settings.prompts_a_round, waiting=settings.prompts_waiting)
        model_class, model_id, data_dir = settings.model_class, settings.model_id, settings.data_dir
        on_ledger_s = settings.flush_s + BLOCK_S * (1 + settings.confirmations)  # gathered, sent, confirmed

        # What others hold: Discord, the durable engine, the video host, the ledger.
        self.client = Client()
        self.engine = Engine(
            database,
            settings.database_url,
            role="bot",
            queues=[
                QueueSpec(BOT_QUEUE, WORKFLOWS_AT_ONCE),
                QueueSpec(gpu_queue(model_class, model_id), 1, one_per_member=True, listen=False),
            ],
        )
        self.host = open_host(settings)
        self.ledger = Ledger(settings.rpc_url or "", settings.ledger_address or "")
        self.relayer = Relayer(database, self.ledger, signer, _relayer_settings(settings))
        links = PublicLedger(
            settings.ledger_address or "",
            settings.public_rpc_url,
            settings.explorer_tx_url,
            deployed_in(data_dir / "ledger.json", settings.ledger_address or ""),
        )
        results = Results(database, self.ledger)
        ledger_status = LedgerStatus(database=database, links=links, relayer_trouble=self._relayer_trouble)

        # Votes, and what is compared with the database. The vote writer asks for cards that it has not seen.
        self.votes = VoteWriter(database, pepper, look_at=lambda video_id: self.reactions.begin_to_look_at(video_id))
        self.reactions = ReactionSync(database=database, client=self.client, votes=self.votes)
        self.wallet_events = WalletEvents(database=database, ledger=self.ledger, votes=self.votes)
        signing = SigningRequests(database=database, ledger=self.ledger, pepper=pepper, on_signed=self.relayer.nudge)
        self.signing_page = SigningPage(database=database, signing=signing, rpc=links.rpc, on_ledger_s=on_ledger_s)

        # All that is posted.
        self.progress = ProgressMessages(
            database=database, client=self.client, progress_s=settings.progress_s, model_class=model_class
        )
        host_name = "Livepeer" if settings.video_host == "livepeer" else None
        video_posts = VideoPosts(
            database=database, client=self.client, data_dir=data_dir, host_name=host_name, progress=self.progress
        )
        round_posts = RoundPosts(database=database, client=self.client, results=results, ledger_status=ledger_status)

        # The workflows.
        queue = VideoQueue(database=database, engine=self.engine)
        hosting = HostingWorkflow(database=database, host=self.host, posts=video_posts)
        reviews = ReviewWorkflow(
            database=database,
            engine=self.engine,
            queue=queue,
            posts=ReviewPosts(database=database, client=self.client, model_class=model_class),
            progress=self.progress,
            quota=quota,
            model_id=model_id,
        )
        removals = RemovalWorkflow(
            database=database,
            engine=self.engine,
            posts=video_posts,
            round_posts=round_posts,
            progress=self.progress,
            hosting=hosting,
            data_dir=data_dir,
        )
        self.rounds = RoundWorkflow(
            database=database, engine=self.engine, queue=queue, posts=round_posts, wallet_events=self.wallet_events
        )
        videos = VideoWorkflow(
            database=database,
            engine=self.engine,
            client=self.client,
            posts=video_posts,
            progress=self.progress,
            reviews=reviews,
            transfer=FileTransfer(database=database, engine=self.engine, client=self.client, data_dir=data_dir),
            reactions=self.reactions,
            data_dir=data_dir,
            model_class=model_class,
            host_patience_s=settings.host_patience_s,
        )
        for workflow in (videos, hosting, removals, reviews, self.rounds):
            workflow.register(self.engine)
        self.recovery = Recovery(
            database=database,
            engine=self.engine,
            round_workflow_=self.rounds,
            posts=round_posts,
            progress=self.progress,
        )

        # What members and moderators meet.
        notices = LedgerNotices(database=database, pepper=pepper)
        prompts = Prompts(
            database=database,
            prompt_rules=open_rules(settings.prompt_rules),
            reviews=reviews,
            queue=queue,
            notices=notices,
            quota=quota,
            model_id=model_id,
            model_class=model_class,
        )
        wallets = Wallets(database=database, signing=signing, signing_url=settings.signing_url, on_ledger_s=on_ledger_s)
        voting = Voting(
            database=database,
            votes=self.votes,
            reactions=self.reactions,
            notices=notices,
            wallets=wallets,
            prompts=prompts,
            on_ledger_s=on_ledger_s,
        )
        review_list = Reviews(database=database, reviews=reviews, data_dir=data_dir)
        cogs: list[commands.Cog] = [
            prompts,
            voting,
            Rounds(
                database=database,
                client=self.client,
                workflow=self.rounds,
                recovery=self.recovery,
                reactions=self.reactions,
                ledger_status=ledger_status,
                grace_s=settings.chain_grace_s,
            ),
            Setup(database=database, recovery=self.recovery),
            Standings(database=database, results=results, view_counts=ViewCounts(self.host), notices=notices),
            Receipts(database=database, pepper=pepper, notices=notices, links=links),
            Provenance(database=database),
            Removal(database=database, queue=queue, removals=removals),
            review_list,
            wallets,
            Buttons({"v1": voting, "w1": wallets, "r1": review_list}),
        ]
        self.client.attach(cogs=cogs, on_open=self.open, on_close=self.close, on_error=answer_error)
        self._scheduler = AsyncIOScheduler()
        self._ledger_tasks: list[asyncio.Task[None]] = []
        self._open = False

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
        # Only what may be missed is ticked; what must happen is a durable sleep.
        for tick, seconds in ((self.progress.tick, 1.0), (self.recovery.tick, RECOVERY_S)):
            self._scheduler.add_job(
                tick, "interval", seconds=seconds, max_instances=1, coalesce=True, misfire_grace_time=None
            )
        self._scheduler.start()

    async def close(self) -> None:
        """End all work; what is unfinished goes on at the next start. Safe to repeat."""
        if not self._open:
            return
        self._open = False
        self._scheduler.shutdown(wait=False)
        await self.recovery.close()
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
        status = await self.relayer.status()
        gauges = {
            "flock_gateway_connected": float(bool(self.client.connected)),
            "flock_relayer_in_flight": float(status.in_flight),
            "flock_relayer_trouble": float(status.trouble is not None),
            "flock_relayer_needs_seconds": status.needs_s,
        }
        if math.isfinite(self.client.latency):
            gauges["flock_gateway_latency_seconds"] = self.client.latency
        if status.left_s is not None:
            gauges["flock_relayer_left_seconds"] = status.left_s
        if status.balance is not None:
            gauges["flock_relayer_balance_wei"] = float(status.balance)
        return gauges

    def health(self) -> Health:
        """Return the health of what this process needs for its work."""

        async def gateway() -> str | None:
            return None if self.client.connected else "the gateway is not connected"

        patience = self._settings.unhealthy_s
        watches = {"Discord": Watch(gateway, patience), "chain": Watch(self._relayer_trouble, patience)}
        return Health({"database": database_watch(self._database), **watches})

    async def _relayer_trouble(self) -> str | None:
        return (await self.relayer.status()).trouble


def _relayer_settings(settings: Settings) -> RelayerSettings:
    return RelayerSettings(
        drafts=DraftSettings(flush_age_s=settings.flush_s),
        confirmations=settings.confirmations,
        final_tag=None if settings.final_tag == "none" else settings.final_tag,
        max_fee=None if settings.max_fee_gwei is None else round(settings.max_fee_gwei * GWEI),
        bumps={"auto": None, "on": True, "off": False}[settings.fee_bumps],
        poll_s=min(1.0, settings.flush_s),
        lease_s=RELAYER_LEASE_S,
    )


def secret(value: object) -> str:
    """Return the text of a secret setting that `Settings.check` has found to be set."""
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else ""


async def open_signer(settings: Settings) -> Signer:
    """Open the signer: a key service, a keystore with its password, or the embedded chain's bare key file."""
    try:
        if settings.signer != "keystore":
            return await open_kms(settings.signer)
        if settings.keystore is None:
            raise OperatorError("FLOCK_KEYSTORE is missing.")
        if settings.keystore_password is not None:
            return await open_keystore(settings.keystore, settings.keystore_password.get_secret_value())
        return open_key_file(settings.keystore)
    except SignerError as error:
        raise OperatorError(str(error)) from error


async def run_bot(settings: Settings, stop: asyncio.Event) -> None:
    """Run the bot until `stop` is set. Raises OperatorError when it cannot start."""
    signer = await open_signer(settings)
    database = await open_and_upgrade(settings)
    app = None
    try:
        point_at(settings)
        app = App(settings, database, signer)
        metrics = Metrics(database, "bot", gauges=app.gauges)
        app.votes.observe = metrics.observe_ack
        async with (
            serving(settings.metrics_host, settings.metrics_port, metrics, app.health()),
            hearing(settings, app.host),
            app.signing_page.serving(settings.page_host, settings.page_port, settings.signing_url or ""),
        ):
            await run_client(app.client, secret(settings.discord_token), stop)
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
