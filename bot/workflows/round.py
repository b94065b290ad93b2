"""The workflow of a round, from its announcement to its result on the ledger.

No answer of Discord ends it: a step that cannot do its part closes the round, or leaves its result to `recovery`, and
the workflow goes on to the ledger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.rounds import Round
from bot.posts.obstacles import UNFORESEEN, Obstacle
from bot.posts.rounds import RoundPosts
from bot.retry import passes
from bot.store import rounds, videos
from bot.sync.wallet_events import WalletEvents
from bot.workflows.closing import ClosingWorkflow
from bot.workflows.steps import step
from bot.workflows.video_queue import VideoQueue
from contracts.outbox.progress import round_progress
from generation.jobs import BOT_QUEUE
from generation.log_context import about
from generation.queue.engine import Engine
from generation.strict_json import JsonObject
from migrations.database import now_ms
from migrations.states.community import RoundStatus

log = logging.getLogger(__name__)

WORKFLOW = "round_life"
LEDGER_POLL_S = 1.0
UNKNOWN_S = 30.0  # until the deadline is read again, if an error kept it from being read
TOO_LATE = "Its time was over before Discord had accepted it."
NOT_OPENED = "Round {number} could not be opened, so no videos are made for it."


def workflow_id(round_id: int) -> str:
    """Return the id of a round's first workflow; `recovery` begins others if it died."""
    return f"round-{round_id}"


class RoundWorkflow:
    """Opens, closes and finishes rounds."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        queue: VideoQueue,
        posts: RoundPosts,
        closing: ClosingWorkflow,
        wallet_events: WalletEvents,
    ) -> None:
        self._database = database
        self._engine = engine
        self._queue = queue
        self._posts = posts
        self._closing = closing
        self._wallet_events = wallet_events

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def round_life(argument: JsonObject) -> JsonObject:
            round_id = cast(int, argument["round_id"])
            with about(round=round_id):
                return await self.run(round_id)

        engine.workflow(WORKFLOW)(round_life)

    async def begin(self, connection: AsyncConnection, round_id: int, new_id: str | None = None) -> None:
        """Begin a workflow in the transaction that writes the round's row; or another one, under an id of its own."""
        argument: JsonObject = {"round_id": round_id}
        await self._engine.submit(connection, WORKFLOW, new_id or workflow_id(round_id), argument, queue=BOT_QUEUE)

    # ------------------------------------------------------------------ the workflow

    async def run(self, round_id: int) -> JsonObject:
        """Opening → open → (deadline) → closed, with its result on Discord and on the ledger.

        Workflows that earlier versions began go on here: the names of the steps and their order are theirs.
        """
        await self._step("announce", self._announce, round_id)
        await self._step("open the thread", self._open_thread, round_id)
        while (seconds_left := await self._step("time left", self._seconds_left, round_id)) is None or seconds_left > 0:
            await Engine.sleep_or_wake(
                UNKNOWN_S if seconds_left is None else seconds_left
            )  # an error does not end a round
        await self._step("close", self.close, round_id)
        await self._step("post the result", self._post_result, round_id)
        await self._step("lock the thread", self._lock, round_id)
        await self._step("wait for the ledger", self._wait_for_ledger, round_id)
        await self._step("add the receipt", self._add_receipt, round_id)
        return {"round_id": round_id}

    async def _step(self, name: str, function: Callable[[int], Awaitable[float | None]], round_id: int) -> float | None:
        """Run a step whose error does not end the workflow: it is logged, and the next steps see to what is left."""

        async def body() -> float | None:
            try:
                return await function(round_id)
            except Exception as error:
                if passes(error):
                    raise  # it is waited for
                log.exception("Round %s: the step %r ended by an unforeseen error.", round_id, name)
                return None

        try:
            return await step(name, body)
        except Exception:  # recorded by an earlier version, whose steps raised
            log.exception("Round %s: the step %r had ended by an error.", round_id, name)
            return None

    async def _announce(self, round_id: int) -> None:
        round_ = await self._round(round_id)
        if round_.status != RoundStatus.OPENING or round_.announcement_id is not None:
            return
        if await self._is_unwanted(round_id):
            await self._give_up(round_, TOO_LATE)
            return
        posted = await self._posts.announce(round_, lambda: self._is_unwanted(round_id))
        if isinstance(posted, Obstacle):
            await self._give_up(round_, posted.sentence)
        else:
            await rounds.change(self._database, round_id, announcement_id=posted)

    async def _open_thread(self, round_id: int) -> None:
        await self._announce(round_id)  # an earlier version may have gone on without an announcement
        round_ = await self._round(round_id)
        if round_.status != RoundStatus.OPENING or round_.announcement_id is None:
            return
        if await self._is_unwanted(round_id):
            await self._give_up(round_, TOO_LATE)
            return
        opened = await self._posts.open_thread(round_, lambda: self._is_unwanted(round_id))
        if isinstance(opened, Obstacle):
            await self._give_up(round_, opened.sentence)
        else:
            await rounds.mark_open(self._database, round_id, opened)

    async def _is_unwanted(self, round_id: int) -> bool:
        """Return True if a moderator has closed the round in the meantime, or its time is over."""
        round_ = await self._round(round_id)
        return round_.status != RoundStatus.OPENING or round_.closes_at_ms <= now_ms()

    async def _give_up(self, round_: Round, why: str) -> None:
        """Close a round that cannot be opened, with the reason: the next one can be opened at once.

        It is closed on the ledger as well, if it was entered for the ledger together with its row.
        """
        log.error("Round %s could not be opened: %s", round_.id, why)
        late = round_.closes_at_ms <= now_ms()
        reason = NOT_OPENED.format(number=round_.number)
        await rounds.close(self._database, round_.id, reason, trouble=TOO_LATE if late else why)

    async def _seconds_left(self, round_id: int) -> float:
        round_ = await self._round(round_id)
        if round_.status == RoundStatus.OPENING:  # neither opened nor given up: an unforeseen error
            await self._give_up(round_, UNFORESEEN)
            return 0.0
        return (round_.closes_at_ms - now_ms()) / 1000 if round_.status == RoundStatus.OPEN else 0.0

    async def close(self, round_id: int) -> None:
        """Close a round in the database, and take its unfinished videos out of the queue. Safe to repeat."""
        round_ = await self._round(round_id)
        if round_.opened:
            reason = f"Round {round_.number} closed before this video was finished."
        else:
            reason = NOT_OPENED.format(number=round_.number)
        await rounds.close(self._database, round_id, reason)
        for video in await videos.under_way(self._database, round_id):
            await self._queue.end_renders(video.id)

    async def _post_result(self, round_id: int) -> None:
        await rounds.close(self._database, round_id, "The round closed.")  # `closing` of an earlier version
        await self._posts.end(await self._round(round_id))

    async def _lock(self, round_id: int) -> None:
        """Have all that members see of the round closed, by a workflow that nothing here waits for."""
        await self.begin_closing(round_id)

    async def begin_closing(self, round_id: int) -> None:
        """Begin to close what members see of a round that was opened. Safe to repeat."""
        if (await self._round(round_id)).opened:
            async with self._database.begin() as connection:
                await self._closing.begin(connection, round_id)

    async def _wait_for_ledger(self, round_id: int) -> None:
        """Wait as long as it takes: the relayer goes on by itself, also when the chain is away for a day.

        If the chain is away for longer than the round and its grace, the ledger rejects the round: the wait ends.
        """
        wait = LEDGER_POLL_S
        while (progress := await round_progress(self._database, round_id)).finalized_tx is None:
            if progress.rejection is not None:
                log.error(
                    "Round %s will never be on the ledger: %s Its result stands as counted here, and its post says so. "
                    "A longer FLOCK_CHAIN_GRACE_S outlasts longer outages of the chain.",
                    round_id,
                    progress.rejection,
                )
                return
            await asyncio.sleep(wait)
            wait = min(wait * 1.2, 30.0)

    async def _add_receipt(self, round_id: int) -> None:
        """Show the result as the ledger has it: it may have rejected votes, or taken a wallet's own ballot."""
        try:
            await self._wallet_events.look()
            await self._posts.show_result(round_id, patient=True)
        except Exception as error:
            if not passes(error):  # then `recovery` brings the result up to date
                await rounds.change(self._database, round_id, trouble=UNFORESEEN)
            raise

    async def _round(self, round_id: int) -> Round:
        return await rounds.get(self._database, round_id)
