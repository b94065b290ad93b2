"""Members who stay active after the story: they ask, vote, change their minds, and try again when nobody answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from bot.demo.discord.people import CannotDoError, Community, Message, NoAnswerError
from bot.demo.discord.world import MEMBERS
from bot.demo.stack import Stack
from bot.demo.terminal import Terminal, plain
from contracts.audit.audit import audit
from contracts.rpc.node import LedgerError
from migrations.database import open_database

SUBJECTS = ("a red circle", "a green square", "a yellow star", "a blue boat", "two clouds", "a paper kite", "a lion")
MOTIONS = ("rolls to the right", "jumps up and down", "spins slowly", "sinks in the rain", "grows and shrinks")
PAUSE_S = (0.5, 3.0)  # between two acts
AUDIT_S = 45.0


class Crowd:
    """A few members who act at random, with a line for each act; now and then an audit checks that all adds up."""

    def __init__(self, stack: Stack, community: Community, terminal: Terminal, *, seed: int = 0) -> None:
        self._stack = stack
        self._community = community
        self._terminal = terminal
        self._dice = random.Random(seed)  # noqa: S311  # a run that can be repeated, no secret
        self._audited = time.monotonic()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(self._dice.uniform(*PAUSE_S))
            name = self._dice.choice(MEMBERS)
            try:
                await (self._ask if self._dice.random() < 0.2 else self._vote)(name)
            except (NoAnswerError, CannotDoError, LookupError) as error:
                self._terminal.say(name, f"… {error} They will try again.")
            except (OSError, ValueError):
                self._terminal.say(name, "… Discord does not answer right now.")
            if time.monotonic() - self._audited > AUDIT_S:
                self._audited = time.monotonic()
                await self._audit()

    async def _ask(self, name: str) -> None:
        prompt = f"{self._dice.choice(SUBJECTS)} {self._dice.choice(MOTIONS)}"
        answer = await self._community.person(name).command("prompt", text=prompt)
        self._terminal.say(name, f"/prompt text: {prompt}  →  {self._first_line(answer.text, skip=1)}")

    async def _vote(self, name: str) -> None:
        card = await self._some_card(name)
        if card is None:
            return
        person = self._community.person(name)
        if self._dice.random() < 0.25:
            emoji = self._dice.choice(("👍", "👎"))
            on = self._dice.random() < 0.7
            await person.react(card, emoji, on=on)
            self._terminal.say(name, f"{'reacts with' if on else 'takes back'} {emoji}")
            return
        answer = await person.press(card, self._dice.choice(("Up", "Down")))
        self._terminal.say(name, self._first_line(answer.text))

    async def _some_card(self, name: str) -> Message | None:
        """Return a card in the newest thread, if there is one."""
        threads = [channel for channel in (await self._community.world())["channels"] if channel.get("thread_metadata")]
        if not threads:
            return None
        newest = max(threads, key=lambda thread: int(thread["id"]))
        messages = await self._community.person(name).messages(newest["id"])
        cards = [message for message in messages if any(button.label == "Up" for button in message.buttons)]
        return self._dice.choice(cards) if cards else None

    async def _audit(self) -> None:
        """Print if the ledger adds up, and agrees with what members were told."""
        keys, deployment = self._stack.keys, self._stack.deployment
        database = open_database(self._stack.database_url)
        try:
            address = deployment.address if deployment else ""
            report = await audit(self._stack.rpc_url, address, database=database, pepper=keys.pepper.encode())
        except LedgerError as error:
            self._terminal.say("audit", f"not possible right now: {error}")
        else:
            verdict = "everything adds up" if report.ok else " ".join(report.problems + report.doubts)
            counts = f"{report.votes} votes recomputed from the chain, {report.pending} on their way"
            self._terminal.say("audit", f"{counts}: {verdict}")
        finally:
            await database.dispose()

    def _first_line(self, text: str, skip: int = 0) -> str:
        lines: Sequence[str] = text.splitlines() or [""]
        return plain(lines[min(skip, len(lines) - 1)], {})
