"""The people of the embedded Discord: scripted members who type, press, react and read, over the control plane.

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
from typing import Self, TypeVar

import aiohttp
import httpx

from bot.demo.discord.messages import Button, Message, Payload, read_message

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
    """The bot did not answer in time: a person reads "The application did not respond."."""


@dataclass(frozen=True)
class Answer:
    """The bot's answer to a command, a press or a modal."""

    interaction_id: str
    kind: str  # message · deferred · update · deferred_update · modal · autocomplete
    ephemeral: bool
    messages: tuple[Message, ...]  # the first answer, then follow-ups; or one's own messages that a press has changed
    modal: Payload | None = None
    choices: tuple[Payload, ...] = ()

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
    """An event, by Discord's name for it; `only_for` names the one member who may see it, if it is for one alone."""

    name: str
    data: Payload
    only_for: str | None = None


class Community:
    """The demo's guild, to act in. `async with Community(url, token) as community`."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Members do not wait for each other: all of them may wait for an answer at once.
        # (aiohttp, because httpx searches all connections for each request: 500 waiting ones cost it seconds.)
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=60)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("A community is entered first: `async with Community(…) as community`.")
        return self._session

    def __repr__(self) -> str:
        return f"Community({self._url})"

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | float] | None = None,
        json: object = None,
        data: str | None = None,
    ) -> Payload:
        """Send one request to the control plane. Raises CannotDoError with the sentence of a refusal."""
        url = f"{self._url}/control/{path}"
        async with self._open_session.request(method, url, params=params, json=json, data=data) as answer:
            if answer.status in _REFUSED:
                raise CannotDoError((await answer.json())["error"])
            answer.raise_for_status()
            body: Payload = await answer.json()
            return body

    async def ask_for_list(self, path: str, params: Mapping[str, str | float]) -> list[Payload]:
        """Send a GET request that is answered by a list. Raises CannotDoError as `ask` does."""
        answer: object = await self.ask("GET", path, params=params)
        if not isinstance(answer, list):
            raise TypeError(f"/control/{path} is answered by a list.")
        return answer

    async def world(self) -> Payload:
        """Return the guild with its members, channels, threads and commands."""
        return await self.ask("GET", "world")

    async def channel(self, name: str) -> str:
        """Return the id of a channel or thread, by its name. Raises LookupError."""
        for channel in (await self.world())["channels"]:
            if channel["name"] == name:
                return str(channel["id"])
        raise LookupError(f"There is no channel {name!r}.")

    def person(self, name: str) -> Person:
        """Return a member, by name."""
        return Person(self, name)

    async def fault(self, do: str, **fields: object) -> None:
        """Disturb the bot's connection: `drop`, `reconnect` or `invalidate`.

        Or do what moderators do without asking the bot: `delete_message`, `delete_channel`, or `deny` permissions.
        """
        await self.ask("POST", "gateway", json={"do": do, **fields})

    async def faults(self, **change: object) -> Payload:
        """Return the faults that are asked for; `fault=…`, `off=…` or `clock_s=…` changes them first."""
        return await self.ask("POST" if change else "GET", "faults", json=change or None)

    async def fetch(self, url: str, **headers: str) -> httpx.Response:
        """Fetch a file, such as an attachment, as a member's client does: without any token."""
        async with httpx.AsyncClient(timeout=30) as client:
            return await client.get(url, headers=headers)

    async def wait_for(
        self, event: str, look: Callable[[], Awaitable[T | None]], *, seconds: float = ANSWER_S, every: float = 0.1
    ) -> T:
        """Wait as the function `wait_for` does."""
        return await wait_for(event, look, seconds=seconds, every=every)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Yield all events from now on: `async with community.events() as events: async for event in events`."""
        async with self._open_session.ws_connect(f"{self._url}/control/events") as ws:
            yield _events(ws)


@dataclass(frozen=True)
class Person:
    """A member who acts. Each act raises CannotDoError where Discord's client would not let the member do it."""

    community: Community
    name: str

    async def command(
        self, name: str, *, in_channel: str = "general", outdated: bool = False, **options: object
    ) -> Answer:
        """Run a slash command such as `prompt` or `round open`, and wait for the first answer.

        `in_channel` is a name or an id; an option that is a channel is an id, one that is a member a name or an id.
        With `outdated`, the client has an earlier definition of the command, which limits no lengths.
        """
        channel_id = await self._channel(in_channel)
        body = {"channel_id": channel_id, "name": name, "options": options, "outdated": outdated}
        return await self._answer(await self._post("command", wait=_WAIT_S, **body))

    async def commands(self, *, in_channel: str = "general") -> tuple[str, ...]:
        """Return the names of the slash commands that this member is offered."""
        query = {"member": self.name, "channel_id": await self._channel(in_channel)}
        return tuple(str(command["name"]) for command in await self.community.ask_for_list("commands", query))

    async def complete(
        self, name: str, option: str, typed: str = "", *, in_channel: str = "general", **options: object
    ) -> tuple[str, ...]:
        """Return the suggestions for an option while it is being typed, by their names."""
        channel_id = await self._channel(in_channel)
        body = {"channel_id": channel_id, "name": name, "focused": option, "value": typed, "options": options}
        answer = await self._answer(await self._post("autocomplete", wait=_WAIT_S, **body))
        return tuple(str(choice["name"]) for choice in answer.choices)

    async def press(self, message: Message, button: str) -> Answer:
        """Press a button, by its label or the beginning of its custom id."""
        return await self.press_id(message, message.button(button).custom_id)

    async def press_id(self, message: Message, custom_id: str, *, forged: bool = False) -> Answer:
        """Press a button by its exact custom id; `forged` presses one that is not there."""
        body = {"custom_id": custom_id, "forged": forged}
        return await self._answer(await self._post("press", wait=_WAIT_S, **_place(message), **body))

    async def choose(self, message: Message, custom_id: str, *values: str) -> Answer:
        """Choose values in a menu."""
        body = {"custom_id": custom_id, "values": list(values)}
        return await self._answer(await self._post("press", wait=_WAIT_S, **_place(message), **body))

    async def submit(self, form: Answer, **values: str) -> Answer:
        """Fill in and send the modal that an answer showed; `values` are named by the custom ids of its fields."""
        body = {"interaction_id": form.interaction_id, "values": values}
        return await self._answer(await self._post("modal", wait=_WAIT_S, **body))

    async def react(self, message: Message, emoji: str, *, on: bool = True) -> None:
        """Put a reaction on a message, or take it off."""
        await self._post("react", **_place(message), emoji=emoji, on=on)

    async def unreact(self, message: Message, emoji: str) -> None:
        """Take one's own reaction off."""
        await self.react(message, emoji, on=False)

    async def say(self, text: str, *, in_channel: str = "general") -> str:
        """Write an ordinary message; returns its id."""
        post = await self._post("say", channel_id=await self._channel(in_channel), content=text)
        return str(post["message_id"])

    async def delete(self, message: Message) -> None:
        """Delete a message: one's own, or as a moderator anybody's."""
        await self._post("delete", **_place(message))

    async def messages(self, channel_id: str, *, limit: int = 200) -> list[Message]:
        """Return what the member sees in a channel or thread, with what only they see, oldest first."""
        query = {"member": self.name, "channel_id": channel_id, "limit": str(limit)}
        return [read_message(message) for message in await self.community.ask_for_list("messages", query)]

    async def message(self, channel_id: str, message_id: str) -> Message:
        """Return one message as it is now. Raises LookupError when it is not there."""
        for message in await self.messages(channel_id, limit=1_000_000):
            if message.id == message_id:
                return message
        raise LookupError(f"There is no message {message_id}.")

    async def look(self, answer: Answer) -> Answer:
        """Return an answer as it is now: edited since, or with follow-ups."""
        return _answer(await self.community.ask("GET", f"interactions/{answer.interaction_id}"))

    async def _channel(self, name_or_id: str) -> str:
        return name_or_id if name_or_id.isdigit() else await self.community.channel(name_or_id)

    async def _post(self, act: str, **body: object) -> Payload:
        return await self.community.ask("POST", act, json={"member": self.name, **body})

    async def _answer(self, act: Payload) -> Answer:
        """Wait until the bot has answered an act. Raises NoAnswerError."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ANSWER_S
        state = act.get("status")
        while True:
            if state is not None and state["failed"]:
                raise NoAnswerError("The application did not respond.")
            if state is not None and state["kind"] is not None and not state["loading"]:
                if not _is_to_change(state) or loop.time() >= until:
                    return _answer(state)
                await asyncio.sleep(0.05)
            if state is not None and (state["expired"] or loop.time() >= until):
                raise NoAnswerError("The application is still thinking.")
            wait = max(0.0, min(_WAIT_S, until - loop.time()))
            state = await self.community.ask("GET", f"interactions/{act['interaction_id']}", params={"wait": wait})


async def wait_for(event: str, look: Callable[[], Awaitable[T | None]], *, seconds: float, every: float = 0.1) -> T:
    """Look again and again until `look` returns something. Raises NoAnswerError, whose sentence names the event."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        result = await look()
        if result is not None:
            return result
        if loop.time() > deadline:
            raise NoAnswerError(f"Waited {seconds:.0f} s for {event}, in vain.")
        await asyncio.sleep(every)


async def _events(ws: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Event]:
    async for message in ws:
        read = json.loads(message.data)
        yield Event(read["event"], read["data"], read["only_for"])


def _place(message: Message) -> dict[str, str]:
    return {"channel_id": message.channel_id, "message_id": message.id}


def _is_to_change(state: Payload) -> bool:
    """Return True while the only answer to a press is a promise to change the message of its button, one's own."""
    deferred = state["kind"] == "deferred_update" and len(state["messages"]) == 1 and not state.get("changed")
    return bool(deferred and state["messages"][0]["ephemeral"])


def _answer(state: Payload) -> Answer:
    return Answer(
        interaction_id=str(state["id"]),
        kind=str(state["kind"]),
        ephemeral=bool(state["ephemeral"]),
        messages=tuple(read_message(message) for message in state.get("changed") or state["messages"]),
        modal=state["modal"],
        choices=tuple(state["choices"] or ()),
    )
