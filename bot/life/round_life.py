"""The life of a round, from its announcement to its result on the ledger, as one readable workflow."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import discord
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import cards
from bot.domain.rounds import Round
from bot.life.patience import patiently, step
from bot.life.posting import post_once
from bot.result_cards import result_card
from bot.store import rounds, videos
from contracts.receipts import round_progress
from generation.engine import Engine
from generation.jobs import BOT_QUEUE
from generation.trail import about
from migrations.database import now_ms

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

WORKFLOW = "round_life"
LEDGER_POLL_S = 1.0

Json = dict[str, Any]


def workflow_id(round_id: int) -> str:
    """The id of a round's life."""
    return f"round-{round_id}"


class RoundLife:
    """Begins, closes and lives the lives of rounds."""

    def __init__(self, app: App) -> None:
        self.app = app

    def register(self, engine: Engine) -> None:
        """Makes the workflow known to the engine, before it is launched."""

        async def round_life(argument: Json) -> Json:
            with about(round=argument["round_id"]):
                return await self.live(int(argument["round_id"]))

        engine.workflow(WORKFLOW)(round_life)

    async def begin(self, connection: AsyncConnection, round_id: int) -> None:
        """Begins a life in the transaction that writes the round's row."""
        await self.app.engine.submit(
            connection, WORKFLOW, workflow_id(round_id), {"round_id": round_id}, queue=BOT_QUEUE
        )

    async def close_now(self, round_id: int) -> None:
        """Moves the deadline to now and wakes the life that sleeps until then."""
        await rounds.close_early(self.app.database, round_id)
        await self.app.engine.wake(workflow_id(round_id))

    async def wake_overdue(self) -> None:
        """At start: a round that was closed just before we died may have missed its wake-up call."""
        for round_ in await rounds.not_closed(self.app.database):
            if round_.status == "open" and round_.closes_at_ms <= now_ms():
                await self.app.engine.wake(workflow_id(round_.id))

    # ------------------------------------------------------------------ the workflow

    async def live(self, round_id: int) -> Json:
        """Opening → open → (deadline) → closing → closed, with its result on the ledger."""
        await step("announce", self._announce, round_id)
        await step("open the thread", self._open_thread, round_id)
        while (left := await step("time left", self._seconds_left, round_id)) > 0:
            await Engine.sleep_or_wake(left)
        await step("close", self._close, round_id)
        await step("post the result", self._post_result, round_id)
        await step("lock the thread", self._lock, round_id)
        await step("wait for the ledger", self._wait_for_ledger, round_id)
        await step("add the receipt", self._add_receipt, round_id)
        return {"round_id": round_id}

    async def _announce(self, round_id: int) -> None:
        round_ = await self._round(round_id)
        if round_.announcement_id is not None:
            return
        message = await self._post(round_, cards.announcement(round_), "open", f"## Round {round_.number}: ")
        await rounds.change(self.app.database, round_id, announcement_id=message)

    async def _open_thread(self, round_id: int) -> None:
        round_ = await self._round(round_id)
        if round_.status != "opening":
            return

        async def open_thread() -> int:
            channel = await self.app.client.channel(round_.channel_id)
            announcement = await channel.fetch_message(round_.announcement_id)
            if announcement.thread is not None or announcement.flags.has_thread:
                return int(announcement.id)  # a message's thread has its message's id
            try:
                thread = await announcement.create_thread(
                    name=f"Round {round_.number}: {round_.task}"[:100], auto_archive_duration=10080
                )
            except discord.HTTPException as error:
                if error.code != 160004:  # a thread has already been created for this message
                    raise
                return int(announcement.id)
            return int(thread.id)

        try:
            thread_id = await patiently("Discord", open_thread)
        except (discord.NotFound, discord.Forbidden) as error:
            log.error(
                "Round %s could not open its thread: HTTP %s. Check the bot's permissions.", round_id, error.status
            )
            await self._give_up(round_id)
            return
        await rounds.change(self.app.database, round_id, thread_id=thread_id, status="open")

    async def _give_up(self, round_id: int) -> None:
        """A round that cannot be posted is closed at once; `/setup` says which permission is missing."""
        await rounds.change(self.app.database, round_id, status="open", closes_at_ms=now_ms())

    async def _seconds_left(self, round_id: int) -> float:
        return ((await self._round(round_id)).closes_at_ms - now_ms()) / 1000

    async def _close(self, round_id: int) -> None:
        round_ = await self._round(round_id)
        reason = f"Round {round_.number} closed before this video was done."
        await rounds.begin_closing(self.app.database, round_id, reason)
        for video in await videos.under_way(self.app.database, round_id):
            await self.app.video_life.end_renders(video.id)

    async def _post_result(self, round_id: int) -> None:
        round_ = await self._round(round_id)
        if round_.result_message_id is not None:
            return
        outcome = await self.app.results.of(round_)
        card = result_card(round_, outcome, "The votes are on their way to the chain; its tally is the final one.")
        message = await self._post(round_, card, "result", f"Round {round_.number} is ")
        best = outcome.best.video.id if outcome.best else None
        await rounds.change(
            self.app.database, round_id, result_message_id=message, winner_video_id=best, status="closed"
        )

    async def _lock(self, round_id: int) -> None:
        round_ = await self._round(round_id)
        if round_.thread_id is None:
            return

        async def lock() -> None:
            thread = await self.app.client.channel(round_.thread_id or 0)
            await thread.edit(locked=True, archived=True)

        try:
            await patiently("Discord", lock)
        except discord.HTTPException as error:
            log.warning("The thread of round %s could not be locked: HTTP %s.", round_id, error.status)

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
        await self.app.following.look()
        await self.show_result(round_id, patient=True)

    async def show_result(self, round_id: int, *, patient: bool = False) -> None:
        """Brings the posted result up to date, if there is one.

        Where the ledger cannot be read, `patient` raises ChainUnreachableError; else our record of it is shown.
        """
        round_ = await self._round(round_id)
        outcome = await self.app.results.of(round_, patient=patient)
        card = result_card(round_, outcome, await self.app.chain_sentence(round_))
        best = outcome.best.video.id if outcome.best else None
        if best != round_.winner_video_id:
            await rounds.change(self.app.database, round_id, winner_video_id=best)
        if round_.result_message_id is None:
            return

        async def edit() -> None:
            channel = await self.app.client.channel(round_.channel_id)
            await channel.get_partial_message(round_.result_message_id).edit(view=card)

        try:
            await patiently("Discord", edit)
        except discord.HTTPException as error:
            log.info("The result of round %s is gone: HTTP %s.", round_id, error.status)

    # ------------------------------------------------------------------ pieces

    async def _post(self, round_: Round, card: discord.ui.LayoutView, kind: str, mark: str) -> int | None:
        """Posts in the rounds channel, once. None when the channel is gone or closed to us."""

        async def post() -> int:
            channel = await self.app.client.channel(round_.channel_id)
            nonce = f"{kind}-{round_.id}"[:25]
            return (await post_once(channel, card, nonce=nonce, mark=mark, again=True)).id

        try:
            return await patiently("Discord", post)
        except (discord.NotFound, discord.Forbidden) as error:
            log.error("Round %s could not be posted: HTTP %s. Run /setup again.", round_.id, error.status)
            return None

    async def _round(self, round_id: int) -> Round:
        return await rounds.get(self.app.database, round_id)
