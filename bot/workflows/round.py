"""The life of a round, from its announcement to its result on the ledger, as one readable workflow.

Nothing that Discord answers ends it: a step that cannot do its part closes the round, or leaves its result to
`mending`, and the life goes on to the ledger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.rounds import Round
from bot.posts.obstacles import UNFORESEEN, Obstacle
from bot.posts.rounds import RoundPosts
from bot.retry import passes, step
from bot.store import rounds, videos
from contracts.outbox.progress import round_progress
from generation.jobs import BOT_QUEUE
from generation.log_context import about
from generation.queue.engine import Engine
from migrations.database import now_ms

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

WORKFLOW = "round_life"
LEDGER_POLL_S = 1.0
UNKNOWN_S = 30.0  # until the time is asked for again, where an error kept it from being told
TOO_LATE = "Its time was over before Discord had taken it."
NOT_OPENED = "Round {number} could not be opened, so no video is made for it."

Json = dict[str, Any]


def workflow_id(round_id: int) -> str:
    """The id of a round's first life; `mending` begins others where it died."""
    return f"round-{round_id}"


class RoundLife:
    """Begins, closes and lives the lives of rounds."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.posts = RoundPosts(app)

    def register(self, engine: Engine) -> None:
        """Makes the workflow known to the engine, before it is launched."""

        async def round_life(argument: Json) -> Json:
            with about(round=argument["round_id"]):
                return await self.live(int(argument["round_id"]))

        engine.workflow(WORKFLOW)(round_life)

    async def begin(self, connection: AsyncConnection, round_id: int, life: str | None = None) -> None:
        """Begins a life in the transaction that writes the round's row; or another one, under an id of its own."""
        await self.app.engine.submit(
            connection, WORKFLOW, life or workflow_id(round_id), {"round_id": round_id}, queue=BOT_QUEUE
        )

    async def close_now(self, round_: Round) -> None:
        """Closes a round at once, whatever its life does or does not do, and has what is left of that done."""
        await self._close(round_.id)
        try:
            await self.app.mending.wake(round_.id)
        except (SQLAlchemyError, OSError) as error:  # it is closed all the same, and `mending` looks again by itself
            log.warning("The life of round %s could not be woken (%s).", round_.id, type(error).__name__)

    # ------------------------------------------------------------------ the workflow

    async def live(self, round_id: int) -> Json:
        """Opening → open → (deadline) → closed, with its result on Discord and on the ledger.

        Lives of earlier versions go on here: the names of the steps and their order are theirs.
        """
        await self._step("announce", self._announce, round_id)
        await self._step("open the thread", self._open_thread, round_id)
        while (left := await self._step("time left", self._seconds_left, round_id)) is None or left > 0:
            await Engine.sleep_or_wake(UNKNOWN_S if left is None else left)  # an error ends no round's time
        await self._step("close", self._close, round_id)
        await self._step("post the result", self._post_result, round_id)
        await self._step("lock the thread", self._lock, round_id)
        await self._step("wait for the ledger", self._wait_for_ledger, round_id)
        await self._step("add the receipt", self._add_receipt, round_id)
        return {"round_id": round_id}

    async def _step(self, name: str, function: Callable[[int], Awaitable[float | None]], round_id: int) -> float | None:
        """A step that ends no life: what nobody foresaw is logged, and the next steps see to what is left."""

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
        except Exception:  # recorded by an earlier version, which let it pass
            log.exception("Round %s: the step %r had ended by an error.", round_id, name)
            return None

    async def _announce(self, round_id: int) -> None:
        round_ = await self._round(round_id)
        if round_.status != "opening" or round_.announcement_id is not None:
            return
        if await self._unwanted(round_id):
            await self._give_up(round_, TOO_LATE)
            return
        posted = await self.posts.announce(round_, lambda: self._unwanted(round_id))
        if isinstance(posted, Obstacle):
            await self._give_up(round_, posted.sentence)
        else:
            await rounds.change(self.app.database, round_id, announcement_id=posted)

    async def _open_thread(self, round_id: int) -> None:
        await self._announce(round_id)  # where an earlier version went on without
        round_ = await self._round(round_id)
        if round_.status != "opening" or round_.announcement_id is None:
            return
        if await self._unwanted(round_id):
            await self._give_up(round_, TOO_LATE)
            return
        opened = await self.posts.open_thread(round_, lambda: self._unwanted(round_id))
        if isinstance(opened, Obstacle):
            await self._give_up(round_, opened.sentence)
        else:
            await rounds.mark_open(self.app.database, round_id, opened)

    async def _unwanted(self, round_id: int) -> bool:
        """True where a moderator has closed it meanwhile, or its time is over."""
        round_ = await self._round(round_id)
        return round_.status != "opening" or round_.closes_at_ms <= now_ms()

    async def _give_up(self, round_: Round, why: str) -> None:
        """A round that cannot be opened is closed, with the reason: the next one can be opened at once.

        On the ledger it is closed as well, where it was written down with its row.
        """
        log.error("Round %s could not be opened: %s", round_.id, why)
        late = round_.closes_at_ms <= now_ms()
        reason = NOT_OPENED.format(number=round_.number)
        await rounds.close(self.app.database, round_.id, reason, trouble=TOO_LATE if late else why)

    async def _seconds_left(self, round_id: int) -> float:
        round_ = await self._round(round_id)
        if round_.status == "opening":  # neither opened nor given up: an unforeseen error
            await self._give_up(round_, UNFORESEEN)
            return 0.0
        return (round_.closes_at_ms - now_ms()) / 1000 if round_.status == "open" else 0.0

    async def _close(self, round_id: int) -> None:
        round_ = await self._round(round_id)
        if round_.opened:
            reason = f"Round {round_.number} closed before this video was done."
        else:
            reason = NOT_OPENED.format(number=round_.number)
        await rounds.close(self.app.database, round_id, reason)
        for video in await videos.under_way(self.app.database, round_id):
            await self.app.video_life.end_renders(video.id)

    async def _post_result(self, round_id: int) -> None:
        await rounds.close(self.app.database, round_id, "The round closed.")  # `closing` of an earlier version
        await self.posts.end(await self._round(round_id))

    async def _lock(self, round_id: int) -> None:
        await self.posts.lock(await self._round(round_id))

    async def _wait_for_ledger(self, round_id: int) -> None:
        """As long as it takes: the relayer goes on by itself, also when the chain is away for a day.

        Away for longer than the round and its grace, the ledger takes neither: then there is nothing to wait for.
        """
        wait = LEDGER_POLL_S
        while (progress := await round_progress(self.app.database, round_id)).finalized_tx is None:
            if progress.refused is not None:
                log.error(
                    "Round %s will never be on the ledger: %s Its result stands as counted here, and its post says so. "
                    "A longer FLOCK_CHAIN_GRACE_S outlasts longer outages of the chain.",
                    round_id,
                    progress.refused,
                )
                return
            await asyncio.sleep(wait)
            wait = min(wait * 1.2, 30.0)

    async def _add_receipt(self, round_id: int) -> None:
        """The ledger has the last word: it may have refused votes, or taken a wallet's ballot meanwhile."""
        try:
            await self.app.following.look()
            await self.posts.show_result(round_id, patient=True)
        except Exception as error:
            if not passes(error):  # then `mending` brings the result up to date
                await rounds.change(self.app.database, round_id, trouble=UNFORESEEN)
            raise

    async def show_result(self, round_id: int) -> None:
        """Brings the posted result up to date, if there is one."""
        await self.posts.show_result(round_id)

    async def _round(self, round_id: int) -> Round:
        return await rounds.get(self.app.database, round_id)
