"""The facts that the page's side panel shows behind the scenes: read only, from sources that everybody can read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TypedDict, TypeVar

import httpx
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.demo.page.learning import LearningFacts, look_at_learning
from bot.demo.stack import MODEL, Stack
from bot.demo.supervisor import ProcessState
from bot.domain.rounds import Round
from bot.domain.videos import UNDER_WAY
from bot.store import videos
from contracts.ledger.client import Ledger
from contracts.rpc.node import LedgerError
from migrations.database import open_database, parse_url
from migrations.schema import chain_transactions, outbox, render_progress, rounds
from migrations.schema import videos as video_table
from migrations.states.battles import RoundKind

MOST_BATCHES = 6
MOST_ASSETS = 6
LOOK_S = 3.0  # for each part, which is shown as absent when it does not answer

T = TypeVar("T")


class QueueEntry(TypedDict):
    """A video on its way, with what the worker reports of it, if anything."""

    id: str
    prompt: str
    member: str
    status: str
    phase: str | None
    step: int | None
    steps: int | None


class AssetEntry(TypedDict):
    """An asset at the video host."""

    id: str
    name: str | None
    phase: str
    progress: float | None
    playback_id: str | None


class TransactionEntry(TypedDict):
    """A transaction of the relayer."""

    kind: str
    seq: int | None
    state: str
    block: int | None
    gas: int | None
    entries: int
    tx: str | None


class ChainFacts(TypedDict):
    """The newest block, the newest transactions, and the number of entries that wait for the relayer."""

    block: int
    address: str
    waiting: int
    transactions: list[TransactionEntry]


class Votes(TypedDict):
    """The votes for and against a video."""

    up: int
    down: int


class TallyEntry(TypedDict):
    """The votes on a video, in the database and on the ledger."""

    id: str
    prompt: str
    up: int
    down: int
    chain: Votes | None


class RoundFacts(TypedDict):
    """The newest round and its tallies."""

    number: int
    task: str
    status: str
    finalized_tx: str | None
    tallies: list[TallyEntry]


class PanelFacts(TypedDict):
    """Everything that the panel shows; None stands for a part that does not answer."""

    processes: dict[str, ProcessState]
    queue: list[QueueEntry] | None
    assets: list[AssetEntry] | None
    chain: ChainFacts | None
    round: RoundFacts | None
    learning: LearningFacts | None


class Panel:
    """A reader of queue, worker, host and chain. A part that does not answer is None; the others stay."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._database: AsyncEngine | None = None
        self._ledger: Ledger | None = None
        self._http = httpx.AsyncClient(timeout=LOOK_S, headers={"Authorization": f"Bearer {stack.keys.host_key}"})

    async def close(self) -> None:
        await self._http.aclose()
        if self._ledger is not None:
            await self._ledger.close()
        if self._database is not None:
            await self._database.dispose()

    async def look(self) -> PanelFacts:
        """Return everything, as plain JSON types."""
        queue, assets, chain, round_, learning = await asyncio.gather(
            self._or_none(self._queue()),
            self._or_none(self._assets()),
            self._or_none(self._chain()),
            self._or_none(self._round()),
            self._or_none(self._learning()),
        )
        return {
            "processes": self._stack.supervisor.states(),
            "queue": queue,
            "assets": assets,
            "chain": chain,
            "round": round_,
            "learning": learning,
        }

    async def _or_none(self, part: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(LOOK_S):
                return await part
        except (SQLAlchemyError, httpx.HTTPError, LedgerError, OSError, TimeoutError, ValueError, LookupError):
            return None

    @property
    def _open(self) -> AsyncEngine:
        if self._database is None:
            url = parse_url(self._stack.database_url)
            if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
                raise LookupError("The bot has not made the database yet.")
            self._database = open_database(self._stack.database_url)
        return self._database

    async def _queue(self) -> list[QueueEntry]:
        """Return the videos on their way, in their order, with what the worker reports."""
        query = (
            select(video_table, render_progress.c.phase, render_progress.c.step, render_progress.c.steps)
            .outerjoin(render_progress, render_progress.c.video_id == video_table.c.id)
            .where(video_table.c.status.in_(UNDER_WAY))
            .order_by(video_table.c.created_at_ms, video_table.c.id)
        )
        async with self._open.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            {
                "id": row.id,
                "prompt": row.prompt,
                "member": row.member_name,
                "status": row.status,
                "phase": row.phase,
                "step": row.step,
                "steps": row.steps,
            }
            for row in rows
        ]

    async def _assets(self) -> list[AssetEntry]:
        """Return the host's newest assets and their phases."""
        if not self._stack.keys.host_port:
            return []
        answer = await self._http.get(f"{self._stack.host_url}/api/asset")
        answer.raise_for_status()
        assets = sorted(answer.json(), key=lambda asset: asset.get("createdAt") or 0, reverse=True)
        return [
            {
                "id": asset["id"],
                "name": asset.get("name"),
                "phase": asset["status"]["phase"],
                "progress": asset["status"].get("progress"),
                "playback_id": asset.get("playbackId"),
            }
            for asset in assets[:MOST_ASSETS]
        ]

    async def _chain(self) -> ChainFacts | None:
        """Return the newest block and transactions of the relayer, and the number of entries that wait for it."""
        deployment = self._stack.deployment
        if deployment is None:
            return None
        if self._ledger is None:
            self._ledger = Ledger(self._stack.rpc_url, deployment.address)
        block = await self._ledger.node.block_number()
        transactions = chain_transactions.c
        async with self._open.connect() as connection:
            waiting = await connection.scalar(
                select(func.count()).select_from(outbox).where(outbox.c.state.in_(("pending", "batched")))
            )
            rows = (
                await connection.execute(
                    select(chain_transactions).order_by(transactions.id.desc()).limit(MOST_BATCHES)
                )
            ).all()
            entries = await self._entries(connection, [row.id for row in rows])
        return {
            "block": block,
            "address": deployment.address,
            "waiting": int(waiting or 0),
            "transactions": [
                {
                    "kind": row.kind,
                    "seq": row.seq,
                    "state": row.state,
                    "block": row.block_number,
                    "gas": row.gas_used,
                    "entries": entries.get(row.id, 0),
                    "tx": row.hashes[-1] if row.hashes else None,
                }
                for row in rows
            ],
        }

    async def _entries(self, connection: AsyncConnection, transaction_ids: list[int]) -> dict[int, int]:
        query = (
            select(outbox.c.transaction_id, func.count())
            .where(outbox.c.transaction_id.in_(transaction_ids))
            .group_by(outbox.c.transaction_id)
        )
        return {number: int(count) for number, count in await connection.execute(query)}

    async def _round(self) -> RoundFacts | None:
        """Return the newest round's tallies, in the database and on the ledger."""
        async with self._open.connect() as connection:
            query = select(rounds).where(rounds.c.kind == RoundKind.VIDEOS).order_by(rounds.c.id.desc()).limit(1)
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        newest = Round.from_row(row)
        tallies: list[TallyEntry] = []
        for entry in await videos.entries(self._open, newest.id):
            number = entry.video.chain_id
            on_chain = await self._ledger.tally(number) if self._ledger is not None and number else None
            tallies.append(
                {
                    "id": entry.video.id,
                    "prompt": entry.video.prompt,
                    "up": entry.tally.up,
                    "down": entry.tally.down,
                    "chain": {"up": on_chain.up, "down": on_chain.down} if on_chain else None,
                }
            )
        return {
            "number": newest.number,
            "task": newest.task,
            "status": newest.status,
            "finalized_tx": newest.finalized_tx,
            "tallies": tallies,
        }

    async def _learning(self) -> LearningFacts | None:
        """Return what is trained and compared, and the live release; None where nothing was ever trained."""
        return await look_at_learning(self._open, self._stack.state, MODEL)
