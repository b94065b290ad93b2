"""People of the embedded Discord: scripted members who type, press, react and read, over the control plane.

`async with Community(url, control_token) as community`, then `ana = community.person("ana")`, and
`answer = await ana.command("prompt", text="a red circle")`, `await ana.press(card, "Up")`,
`await ana.react(card, "👍")`, `await ana.submit(await ana.press(card, "Feedback"), text="more rain")`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import aiohttp
import httpx

from bot.demo.discord.messages import Button, Message, read_message

__all__ = [
    "Answer",
    "Button",
    "CannotDoError",
    "Community",
    "Event",
    "Message",
    "NoAnswerError",
    "Person",
    "wait_for",
]

T = TypeVar("T")

ANSWER_S = 20.0
_WAIT_S = 10.0  # of one request that waits for an answer
_REFUSED = frozenset({400, 401, 403, 404, 413, 422})


class CannotDoError(Exception):
    """The member's Discord client would not let them do that; the message says why."""


class NoAnswerError(Exception):
    """The bot did not answer in time: a person sees "the application did not respond"."""


@dataclass(frozen=True)
class Answer:
    """What came back on a command, a press or a modal."""

    interaction_id: str
    kind: str  # message · deferred · update · deferred_update · modal · autocomplete
    ephemeral: bool
    messages: tuple[Message, ...]  # the first answer, then follow-ups
    modal: Mapping[str, Any] | None = None
    choices: tuple[Mapping[str, Any], ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(message.text for message in self.messages)

    @property
    def message(self) -> Message:
        """The first message of the answer. Raises LookupError."""
        if not self.messages:
            raise LookupError("The answer has no message.")
        return self.messages[0]


@dataclass(frozen=True)
class Event:
    """Something that happened, by Discord's name of it; `only_for` names the one member who may see it."""

    name: str
    data: Mapping[str, Any]
    only_for: str | None = None


class Community:
    """The demo's guild, for those who act in it. `async with Community(url, token) as community`."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Members do not queue for each other: as many as there are may wait for an answer at once.
        # (aiohttp, because httpx searches all connections for each request: 500 waiting ones cost it seconds.)
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=60)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def _entered(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("A community is entered first: `async with Community(…) as community`.")
        return self._session

    def __repr__(self) -> str:
        return f"Community({self._url})"

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """One request to the control plane. Raises CannotDoError with its sentence."""
        async with self._entered.request(method, f"{self._url}/control/{path}", **more) as answer:
            if answer.status in _REFUSED:
                raise CannotDoError((await answer.json())["error"])
            answer.raise_for_status()
            return await answer.json()

    async def world(self) -> dict[str, Any]:
        """The guild with its members, channels, threads and commands."""
        world: dict[str, Any] = await self.ask("GET", "world")
        return world

    async def channel(self, name: str) -> str:
        """The id of a channel or thread, by its name. Raises LookupError."""
        for channel in (await self.world())["channels"]:
            if channel["name"] == name:
                return str(channel["id"])
        raise LookupError(f"There is no channel {name!r}.")

    def person(self, name: str) -> Person:
        """A member, by name."""
        return Person(self, name)

    async def fault(self, do: str, **more: Any) -> None:
        """Faults of the connection: `drop`, `reconnect`, `invalidate`; or what moderators do behind the bot's back:
        `delete_message`, `delete_channel`, `deny` with permissions.
        """
        await self.ask("POST", "gateway", json={"do": do, **more})

    async def faults(self, **wanted: Any) -> dict[str, Any]:
        """What is out of order now; with `fault=…`, `off=…` or `clock_s=…` something is changed before."""
        method, more = ("POST", {"json": wanted}) if wanted else ("GET", {})
        told: dict[str, Any] = await self.ask(method, "faults", **more)
        return told

    async def fetch(self, url: str, **headers: str) -> httpx.Response:
        """A file, as a member's client fetches it (an attachment, say): without any token."""
        async with httpx.AsyncClient(timeout=30) as client:
            return await client.get(url, headers=headers)

    async def wait_for(
        self, what: str, look: Callable[[], Awaitable[T | None]], *, seconds: float = ANSWER_S, every: float = 0.1
    ) -> T:
        """As the function `wait_for`."""
        return await wait_for(what, look, seconds=seconds, every=every)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Everything that happens from now on: `async with community.events() as events: async for event in events`."""
        async with self._entered.ws_connect(f"{self._url}/control/events") as ws:
            yield _events(ws)


@dataclass(frozen=True)
class Person:
    """A member who acts. All acts raise CannotDoError where Discord's client would not let the member do it."""

    community: Community
    name: str

    async def command(self, name: str, *, in_channel: str = "general", **options: Any) -> Answer:
        """Runs a slash command such as `prompt` or `round open`, and waits for the first answer.

        A channel is named or given by id; an option that is a channel is given by id, a member by name or id.
        """
        channel_id = await self._channel(in_channel)
        body = {"channel_id": channel_id, "name": name, "options": options}
        return await self._answer(await self._post("command", wait=_WAIT_S, **body))

    async def commands(self, *, in_channel: str = "general") -> tuple[str, ...]:
        """The names of the slash commands that this member is offered."""
        query = {"member": self.name, "channel_id": await self._channel(in_channel)}
        return tuple(str(command["name"]) for command in await self.community.ask("GET", "commands", params=query))

    async def complete(
        self, name: str, option: str, typed: str = "", *, in_channel: str = "general", **options: Any
    ) -> tuple[str, ...]:
        """The suggestions for an option while it is being typed, by their names."""
        channel_id = await self._channel(in_channel)
        body = {"channel_id": channel_id, "name": name, "focused": option, "value": typed, "options": options}
        answer = await self._answer(await self._post("autocomplete", wait=_WAIT_S, **body))
        return tuple(str(choice["name"]) for choice in answer.choices)

    async def press(self, message: Message, button: str) -> Answer:
        """Presses a button, by its label or the beginning of its custom id."""
        return await self.press_id(message, message.button(button).custom_id)

    async def press_id(self, message: Message, custom_id: str, *, forged: bool = False) -> Answer:
        """Presses a button by its exact custom id; `forged` presses one that is not there."""
        body = {"custom_id": custom_id, "forged": forged}
        return await self._answer(await self._post("press", wait=_WAIT_S, **_place(message), **body))

    async def choose(self, message: Message, custom_id: str, *values: str) -> Answer:
        """Chooses values in a menu."""
        body = {"custom_id": custom_id, "values": list(values)}
        return await self._answer(await self._post("press", wait=_WAIT_S, **_place(message), **body))

    async def submit(self, shown: Answer, **values: str) -> Answer:
        """Fills in and sends the modal that an answer showed; the values go by the custom ids of its fields."""
        body = {"interaction_id": shown.interaction_id, "values": values}
        return await self._answer(await self._post("modal", wait=_WAIT_S, **body))

    async def react(self, message: Message, emoji: str, *, on: bool = True) -> None:
        """Puts a reaction on a message, or takes it off."""
        await self._post("react", **_place(message), emoji=emoji, on=on)

    async def unreact(self, message: Message, emoji: str) -> None:
        """Takes one's own reaction off."""
        await self.react(message, emoji, on=False)

    async def say(self, text: str, *, in_channel: str = "general") -> str:
        """Writes an ordinary message; returns its id."""
        said = await self._post("say", channel_id=await self._channel(in_channel), content=text)
        return str(said["message_id"])

    async def delete(self, message: Message) -> None:
        """Deletes a message: one's own, or as a moderator anybody's."""
        await self._post("delete", **_place(message))

    async def messages(self, channel_id: str, *, limit: int = 200) -> list[Message]:
        """What the member sees in a channel or thread, with what only they see, oldest first."""
        query = {"member": self.name, "channel_id": channel_id, "limit": str(limit)}
        return [read_message(m) for m in await self.community.ask("GET", "messages", params=query)]

    async def message(self, channel_id: str, message_id: str) -> Message:
        """One message as it is now. Raises LookupError when it is gone."""
        for message in await self.messages(channel_id, limit=1_000_000):
            if message.id == message_id:
                return message
        raise LookupError(f"There is no message {message_id}.")

    async def look(self, answer: Answer) -> Answer:
        """An answer as it is now: edited since, or with follow-ups."""
        return _answer(await self.community.ask("GET", f"interactions/{answer.interaction_id}"))

    async def _channel(self, name_or_id: str) -> str:
        return name_or_id if name_or_id.isdigit() else await self.community.channel(name_or_id)

    async def _post(self, act: str, **body: Any) -> Any:
        return await self.community.ask("POST", act, json={"member": self.name, **body})

    async def _answer(self, sent: Mapping[str, Any]) -> Answer:
        """Waits until the bot has answered. Raises NoAnswerError."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ANSWER_S
        state = sent.get("status")
        while True:
            if state is not None and state["failed"]:
                raise NoAnswerError("The application did not respond.")
            if state is not None and state["kind"] is not None and not state["loading"]:
                return _answer(state)
            if state is not None and (state["expired"] or loop.time() >= until):
                raise NoAnswerError("The application is thinking and thinking.")
            left = max(0.0, min(_WAIT_S, until - loop.time()))
            state = await self.community.ask("GET", f"interactions/{sent['interaction_id']}", params={"wait": left})


async def wait_for(what: str, look: Callable[[], Awaitable[T | None]], *, seconds: float, every: float = 0.1) -> T:
    """Looks again and again until there is something. Raises NoAnswerError, naming what was waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        found = await look()
        if found is not None:
            return found
        if loop.time() > deadline:
            raise NoAnswerError(f"Waited {seconds:.0f} s for {what}, in vain.")
        await asyncio.sleep(every)


async def _events(ws: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Event]:
    async for message in ws:
        read = json.loads(message.data)
        yield Event(read["event"], read["data"], read["only_for"])


def _place(message: Message) -> dict[str, str]:
    return {"channel_id": message.channel_id, "message_id": message.id}


def _answer(state: Mapping[str, Any]) -> Answer:
    return Answer(
        interaction_id=str(state["id"]),
        kind=str(state["kind"]),
        ephemeral=bool(state["ephemeral"]),
        messages=tuple(read_message(message) for message in state["messages"]),
        modal=state["modal"],
        choices=tuple(state["choices"] or ()),
    )
