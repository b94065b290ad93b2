"""The composition root of the bot's process: every object is built here, by hand, and closed in reverse order."""

from __future__ import annotations

import asyncio
import logging
import math

import aiohttp
import discord
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client, point_at, run_client
from bot.database import open_and_upgrade
from bot.domain.errors import OperatorError, UnreachableError
from bot.domain.ledger_links import PublicLedger, deployed_in
from bot.domain.policy import Quota
from bot.domain.rounds import Round
from bot.files.transfer import Originals
from bot.monitoring.health import Health, Watch, database_watch
from bot.monitoring.metrics import Metrics, serving
from bot.posts.progress import ProgressBoard
from bot.prompt_filter.rules_file import open_rules
from bot.round_results import Results
from bot.settings import Settings
from bot.signer import open_signer
from bot.signing.page import serving_signing
from bot.signing.requests import Signing
from bot.store.vote_writer import VoteWriter
from bot.sync.reactions import CatchingUp
from bot.sync.view_counts import Views
from bot.sync.wallet_events import Following
from bot.video_hosts import hearing, open_host
from bot.workflows.hosting import HostingLife
from bot.workflows.recovery import Mending
from bot.workflows.removal import RemovalLife
from bot.workflows.review import ReviewLife
from bot.workflows.round import RoundLife
from bot.workflows.video import VideoLife
from contracts.ledger.client import Ledger
from contracts.outbox.progress import round_progress
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.signers.keystore import Signer
from contracts.units import GWEI
from generation.jobs import BOT_QUEUE, gpu_queue
from generation.queue.engine import Engine, QueueSpec
from generation.queue.portable_json import UnsafeEngineError

log = logging.getLogger(__name__)

RELAYER_LEASE_S = 15.0  # a killed bot's successor relays after that long
MEND_S = 5.0  # between two looks at rounds with something left to do
BLOCK_S = 12.0  # of the slowest chains that people use
LIVES_AT_ONCE = 4000  # lives of videos, their hosting, and rounds in one bot; nearly all of them only wait


class App:
    """What the cogs and the lives work with."""

    def __init__(self, settings: Settings, database: AsyncEngine, signer: Signer) -> None:
        self.settings = settings
        self.database = database
        self.pepper = secret(settings.voter_pepper).encode()
        self.quota = Quota(prompts_a_round=settings.prompts_a_round, waiting=settings.prompts_waiting)
        self.prompt_rules = open_rules(settings.prompt_rules)
        self.engine = Engine(
            database,
            settings.database_url,
            role="bot",
            queues=[
                QueueSpec(BOT_QUEUE, LIVES_AT_ONCE),
                QueueSpec(gpu_queue(settings.model_class, settings.model_id), 1, one_per_member=True, listen=False),
            ],
        )
        self.being_told: set[str] = set()  # voters who just now read what the ledger refused of theirs
        self.catching_up = CatchingUp(self)
        self.votes = VoteWriter(database, self.pepper, look_at=self.catching_up.begin_to_look_at)
        self.host = open_host(settings)
        self.host_name = "Livepeer" if settings.video_host == "livepeer" else None
        self.views = Views(self.host)
        self.public_ledger = PublicLedger(
            settings.ledger_address or "",
            settings.public_rpc_url,
            settings.explorer_tx_url,
            deployed_in(settings.data_dir / "ledger.json", settings.ledger_address or ""),
        )
        self.ledger = Ledger(settings.rpc_url or "", settings.ledger_address or "")
        self.results = Results(database, self.ledger)
        self.relayer = Relayer(
            database,
            self.ledger,
            signer,
            RelayerSettings(
                drafts=DraftSettings(flush_age_s=settings.flush_s),
                confirmations=settings.confirmations,
                final_tag=None if settings.final_tag == "none" else settings.final_tag,
                max_fee=None if settings.max_fee_gwei is None else round(settings.max_fee_gwei * GWEI),
                bumps={"auto": None, "on": True, "off": False}[settings.fee_bumps],
                poll_s=min(1.0, settings.flush_s),
                lease_s=RELAYER_LEASE_S,
            ),
        )
        self.signing = Signing(self)
        self.following = Following(self)
        self.originals = Originals(self)
        self.video_life = VideoLife(self)
        self.hosting_life = HostingLife(self)
        self.removal_life = RemovalLife(self)
        self.review_life = ReviewLife(self)
        self.round_life = RoundLife(self)
        self.video_life.register(self.engine)
        self.hosting_life.register(self.engine)
        self.removal_life.register(self.engine)
        self.review_life.register(self.engine)
        self.round_life.register(self.engine)
        self.mending = Mending(self)
        self.board = ProgressBoard(self)
        self.client = Client(self)
        self._scheduler = AsyncIOScheduler()
        self._chain_tasks: list[asyncio.Task[None]] = []
        self._open = False

    async def open(self) -> None:
        """Begins all work; called when the client has logged in, on its loop."""
        self._open = True
        self.votes.start()
        await self.engine.launch()
        await self.mending.start()
        self._chain_tasks = [
            asyncio.create_task(self.relayer.run(), name="relayer"),
            asyncio.create_task(self.following.run(), name="following"),
        ]
        # Only what may be missed is ticked; what must happen is a durable sleep.
        self._scheduler.add_job(
            self.board.tick, "interval", seconds=1, max_instances=1, coalesce=True, misfire_grace_time=None
        )
        self._scheduler.add_job(
            self.mending.tick, "interval", seconds=MEND_S, max_instances=1, coalesce=True, misfire_grace_time=None
        )
        self._scheduler.start()

    async def close(self) -> None:
        """Ends all work; what is unfinished goes on at the next start. Safe to repeat."""
        if not self._open:
            return
        self._open = False
        self._scheduler.shutdown(wait=False)
        await self.mending.close()
        await self.votes.close()
        await self.engine.close()
        for task in self._chain_tasks:
            while not task.done():  # a driver may swallow one cancellation
                task.cancel()
                await asyncio.wait({task}, timeout=1)
        await self.ledger.close()
        await self.host.aclose()

    async def gauges(self) -> dict[str, float]:
        """What only this process knows, for its metrics."""
        status = await self.relayer.status()
        known = {
            "flock_gateway_connected": float(bool(self.client.connected)),
            "flock_relayer_in_flight": float(status.in_flight),
            "flock_relayer_trouble": float(status.trouble is not None),
            "flock_relayer_needs_seconds": status.needs_s,
        }
        if math.isfinite(self.client.latency):
            known["flock_gateway_latency_seconds"] = self.client.latency
        if status.left_s is not None:
            known["flock_relayer_left_seconds"] = status.left_s
        if status.balance is not None:
            known["flock_relayer_balance_wei"] = float(status.balance)
        return known

    def health(self) -> Health:
        """What this process needs to do its work."""

        async def gateway() -> str | None:
            return None if self.client.connected else "the gateway is not connected"

        async def chain() -> str | None:
            return (await self.relayer.status()).trouble

        patience = self.settings.unhealthy_s
        watches = {"Discord": Watch(gateway, patience), "chain": Watch(chain, patience)}
        return Health({"database": database_watch(self.database), **watches})

    @property
    def on_chain_s(self) -> float:
        """How long it takes until a vote is on the chain, about: gathered, sent, confirmed."""
        return self.settings.flush_s + BLOCK_S * (1 + self.settings.confirmations)

    async def chain_sentence(self, round_: Round) -> str:
        """How far a round is on the ledger, in a sentence."""
        progress = await round_progress(self.database, round_.id)
        recorded = progress.entries.get("final", 0)
        if progress.finalized_tx:
            shown = self.public_ledger.transaction(progress.finalized_tx)
            return (
                f"On the chain: the result stands as round {progress.chain_id}, transaction {shown}. "
                f"Anyone can recompute it: `{self.public_ledger.audit_command(progress.chain_id)}`"
            )
        if progress.refused:
            return (
                f"Not on the chain: {progress.refused} The votes stand as they were counted here, and nobody can "
                "recompute them from the chain."
            )
        trouble = (await self.relayer.status()).trouble
        refused = f", {count} refused" if (count := progress.entries.get("rejected", 0)) else ""
        return (
            f"On the chain: {recorded} entries recorded, {progress.underway} on their way{refused}. {trouble or ''}"
        ).rstrip()


def secret(value: object) -> str:
    """The text of a secret setting that `Settings.check` has found to be there."""
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else ""


async def run_bot(settings: Settings, stop: asyncio.Event) -> None:
    """`flock run`: the bot until `stop` is set. Raises OperatorError when it cannot start."""
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
            serving_signing(app),
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
