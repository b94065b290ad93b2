"""Chaos on demand: a seeded mix of faults in the embedded services, and of sudden deaths of bot and worker.

Each of these faults can be asked for by hand too: see docs/chaos.md.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import aiohttp

from bot.demo.stack import Stack
from bot.demo.supervisor import Supervisor

PAUSE_S = (2.0, 6.0)  # between two events
KILL_EVERY = 8  # events, on average
# The supervisor gives up on a process that dies too often; people should keep their bot.
MOST_KILLS = 15
KILLABLE = ("bot", "worker")
_ASK_S = 5.0

Body = dict[str, object]  # a request for a fault, as JSON
OnEvent = Callable[[str], None]


@dataclass(frozen=True)
class Switch:
    """The control route of a service: the base address, and the token for it."""

    name: str
    url: str
    token: str = field(repr=False)

    async def ask(self, session: aiohttp.ClientSession, body: Body) -> None:
        """Ask for a fault, or for its end. Raises aiohttp.ClientError or TimeoutError when that cannot be done."""
        headers = {"Authorization": f"Bearer {self.token}"}
        timeout = aiohttp.ClientTimeout(total=_ASK_S)
        url = f"{self.url}/control/faults"
        async with session.post(url, json=body, headers=headers, timeout=timeout, raise_for_status=True) as answer:
            await answer.read()


class Chaos:
    """Faults one after the other, until the task is cancelled; then all are switched off. A seed repeats a run."""

    def __init__(
        self,
        switches: tuple[Switch, Switch, Switch],
        supervisor: Supervisor,
        on_event: OnEvent,
        *,
        seed: int = 0,
        pause_s: tuple[float, float] = PAUSE_S,
        kill_every: int = KILL_EVERY,
    ) -> None:
        """`switches` are those of Discord, host and chain. `on_event` is called with a sentence about each event.

        About one event of `kill_every` is the death of bot or worker; with 0 neither is killed.
        """
        self.discord, self.host, self.chain = switches
        self._supervisor = supervisor
        self._on_event = on_event
        self._dice = random.Random(seed)  # noqa: S311  # a run that can be repeated, no secret
        self._pause_s = pause_s
        self._kill_every = kill_every

    @classmethod
    def of(
        cls,
        stack: Stack,
        on_event: OnEvent,
        *,
        seed: int = 0,
        pause_s: tuple[float, float] = PAUSE_S,
        kill_every: int = KILL_EVERY,
    ) -> Self:
        """Return the chaos of a stack whose services are open."""
        token = stack.keys.control_token
        switches = (
            Switch("Discord", stack.discord_url, token),
            Switch("the video host", stack.host_url, token),
            Switch("the chain", stack.rpc_url, token),
        )
        return cls(switches, stack.supervisor, on_event, seed=seed, pause_s=pause_s, kill_every=kill_every)

    async def run(self) -> None:
        """Run until cancelled; leaves every fault switched off."""
        async with aiohttp.ClientSession() as session:
            try:
                while True:
                    await asyncio.sleep(self._dice.uniform(*self._pause_s))
                    await self._strike(session)
            finally:
                await asyncio.shield(self._put_in_order(session))

    async def _strike(self, session: aiohttp.ClientSession) -> None:
        """Let one event happen. The dice fall in the same order whatever comes of it."""
        kills = self._kill_every > 0 and self._dice.random() < 1 / self._kill_every
        victim, (switch, body, sentence) = self._dice.choice(KILLABLE), self._event()
        if kills:
            self._kill(victim)
            return
        try:
            await switch.ask(session, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._on_event(f"{_capitalized(switch.name)} could not be broken ({type(error).__name__}).")
        else:
            self._on_event(sentence)

    def _kill(self, name: str) -> None:
        try:
            if self._supervisor.states()[name]["restarts"] >= MOST_KILLS:
                self._on_event(f"The {name} has been killed {MOST_KILLS} times and is spared from now on.")
                return
            self._supervisor.kill(name)
        except (KeyError, ProcessLookupError):
            self._on_event(f"The {name} was to be killed, but is not running right now.")
        else:
            self._on_event(f"The {name} is killed (SIGKILL) and will be started again.")

    async def _put_in_order(self, session: aiohttp.ClientSession) -> None:
        silent = []
        for switch in (self.discord, self.host, self.chain):
            try:
                await switch.ask(session, {"off": True})
            except (aiohttp.ClientError, TimeoutError):  # the service has ended, and its faults with it
                silent.append(switch.name)
        if silent:
            self._on_event(f"No answer from {' and '.join(silent)}; a service that has ended forgets its faults.")
        else:
            self._on_event("All faults are switched off.")

    # ------------------------------------------------------------------ events

    def _event(self) -> tuple[Switch, Body, str]:
        """Draw a service, the request to it, and the sentence for people."""
        service = self._dice.choice((self._of_discord, self._of_gateway, self._of_host, self._of_chain))
        return service()

    def _of_discord(self) -> tuple[Switch, Body, str]:
        dice, count, status = self._dice, self._dice.randint(1, 4), self._dice.choice((500, 502, 503))
        seconds = round(self._dice.uniform(0.5, 2.0), 1)
        # Answers to people are spared where nothing is to be learnt from them: people would only try again.
        posts: Body = {"method": "POST", "path": "/channels/*/messages"}
        wire: Body = {"path": "/channels/*", "count": count}
        choices: list[tuple[Body, str]] = [
            ({"fault": "error", "status": status, **wire}, f"Discord answers {status} to the next {count} requests."),
            (
                {"fault": "error", "status": status, "after": True, **posts},
                f"Discord will post the next message, and answer {status} all the same.",
            ),
            (
                {"fault": "error", "status": 502, "after": True, "path": "/interactions/*"},
                "Discord will take the next answer to a member, and answer 502 all the same.",
            ),
            (
                {"fault": "rate_limit", "seconds": seconds, **wire},
                f"Discord refuses the next {count} kinds of requests for {seconds} s each (429).",
            ),
            (
                {"fault": "rate_limit", "everywhere": True, "seconds": seconds, "path": "/channels/*"},
                f"Discord refuses all requests for {seconds} s (429, global).",
            ),
            ({"fault": "slow", "seconds": seconds, **wire}, f"The next {count} answers of Discord take {seconds} s."),
            ({"fault": "cut", **wire}, f"The connection to Discord is cut in the next {count} requests."),
            (
                {"fault": "cut", "after": True, **posts},
                "The connection to Discord will be cut just after the next message is posted.",
            ),
        ]
        body, sentence = dice.choice(choices)
        return self.discord, body, sentence

    def _of_gateway(self) -> tuple[Switch, Body, str]:
        count = self._dice.randint(1, 5)
        choices: list[tuple[Body, str]] = [
            ({"fault": "duplicate", "count": count}, f"Discord sends the next {count} events twice."),
            (
                {"fault": "reorder", "seconds": 0.5, "event": "MESSAGE_*"},
                "Discord sends the next event out of order.",
            ),
            ({"fault": "drop"}, "Discord drops the gateway connection; the bot may resume."),
            ({"fault": "reconnect"}, "Discord asks the bot to connect again."),
            (
                {"fault": "invalidate", "event": "MESSAGE_*"},
                "Discord forgets the bot's session; the bot must start a new one.",
            ),
        ]
        body, sentence = self._dice.choice(choices)
        return self.discord, body, sentence

    def _of_host(self) -> tuple[Switch, Body, str]:
        count, status = self._dice.randint(1, 4), self._dice.choice((429, 500, 502, 503))
        seconds = round(self._dice.uniform(1.0, 5.0), 1)
        phase, size = self._dice.choice(("uploading", "waiting", "processing")), self._dice.randint(1, 20_000)
        api: Body = {"path": "/api/*", "count": count}
        choices: list[tuple[Body, str]] = [
            ({"fault": "error", "status": status, **api}, f"The host answers {status} to the next {count} requests."),
            ({"fault": "slow", "seconds": seconds, **api}, f"The next {count} answers of the host take {seconds} s."),
            (
                {"fault": "cut", "after": True, "path": "/api/asset/request-upload"},
                "The host will accept the next upload, and the connection is cut before it says so.",
            ),
            ({"fault": "cut_upload", "bytes": size}, f"The next upload is cut after {size} bytes."),
            (
                {"fault": "stick", "phase": phase, "seconds": seconds},
                f"The next video at the host is stuck in the phase “{phase}” for {seconds} s.",
            ),
            ({"fault": "fail", "message": "chaos"}, "The host will fail to process the next video."),
        ]
        body, sentence = self._dice.choice(choices)
        return self.host, body, sentence

    def _of_chain(self) -> tuple[Switch, Body, str]:
        count, status = self._dice.randint(1, 4), self._dice.choice((429, 502, 503))
        seconds = round(self._dice.uniform(1.0, 6.0), 1)
        send: Body = {"method": "eth_sendRawTransaction"}
        choices: list[tuple[Body, str]] = [
            (
                {"fault": "http_error", "status": status, "count": count},
                f"The chain's node answers {status} to the next {count} requests.",
            ),
            ({"fault": "rpc_error", **send}, "The chain's node will refuse the next transaction: nonce too low."),
            (
                {"fault": "rpc_error", "after": True, "message": "replacement transaction underpriced", **send},
                "The chain's node will accept the next transaction, and call it underpriced.",
            ),
            (
                {"fault": "cut", "after": True, **send},
                "The chain's node will accept the next transaction, and the connection is cut before it says so.",
            ),
            ({"fault": "cut", "count": count}, f"The connection to the chain is cut in the next {count} requests."),
            (
                {"fault": "slow", "seconds": seconds, "count": count},
                f"The next {count} answers of the chain's node take {seconds} s.",
            ),
            ({"fault": "pause_mining", "seconds": seconds}, f"The chain mines nothing for {seconds} s."),
        ]
        body, sentence = self._dice.choice(choices)
        return self.chain, body, sentence


def _capitalized(name: str) -> str:
    return name[0].upper() + name[1:]
