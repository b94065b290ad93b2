"""People of the embedded Discord: scripted members who type, press, react and read, over the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx

T = TypeVar("T")

TEXT_DISPLAY, BUTTON, MEDIA_GALLERY = 10, 2, 12
ANSWER_S = 20.0


class CannotDoError(Exception):
    """The member's Discord client would not let them do that; the message says why."""


class NoAnswerError(Exception):
    """The bot did not answer in time: a person sees "the application did not respond"."""


@dataclass(frozen=True)
class Button:
    """A button on a card."""

    label: str
    custom_id: str
    emoji: str
    disabled: bool


@dataclass(frozen=True)
class Message:
    """A message as a member sees it; a card's texts are joined by newlines."""

    id: str
    channel_id: str
    author: str
    text: str
    ephemeral: bool
    buttons: tuple[Button, ...] = ()
    media: tuple[str, ...] = ()  # addresses in media galleries
    attachments: tuple[str, ...] = ()
    thread_id: str | None = None
    reactions: Mapping[str, int] = field(default_factory=dict)

    def button(self, wanted: str) -> Button:
        """By its label, or the beginning of its custom id. Raises LookupError."""
        for button in self.buttons:
            if button.label == wanted or button.custom_id.startswith(wanted):
                return button
        raise LookupError(f"There is no button {wanted!r}; there are {[b.label for b in self.buttons]}.")


@dataclass(frozen=True)
class Answer:
    """What came back on a command, a press or a modal."""

    interaction_id: str
    kind: str
    ephemeral: bool
    messages: tuple[Message, ...]
    modal: Mapping[str, Any] | None

    @property
    def text(self) -> str:
        return "\n".join(message.text for message in self.messages)

    @property
    def message(self) -> Message:
        """The first message of the answer. Raises LookupError."""
        if not self.messages:
            raise LookupError("The answer has no message.")
        return self.messages[0]


class Community:
    """The demo's guild, for those who act in it. `async with Community(url, token) as community`."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def __repr__(self) -> str:
        return f"Community({self._client.base_url})"

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """One request to the control plane. Raises CannotDoError with its sentence."""
        answer = await self._client.request(method, f"/control/{path}", **more)
        if answer.status_code in {400, 401, 403, 422}:
            raise CannotDoError(answer.json()["error"])
        answer.raise_for_status()
        return answer.json()

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
        """Drops the gateway, asks to reconnect, invalidates sessions, or deletes a message."""
        await self.ask("POST", "gateway", json={"do": do, **more})

    async def fetch(self, url: str, **headers: str) -> httpx.Response:
        """A file, as a member's client fetches it (an attachment, say): without any token."""
        async with httpx.AsyncClient(timeout=30) as client:
            return await client.get(url, headers=headers)


@dataclass(frozen=True)
class Person:
    """A member who acts."""

    community: Community
    name: str

    async def command(self, name: str, *, in_channel: str = "general", **options: Any) -> Answer:
        """Runs a slash command such as `prompt` or `round open`, and waits for the first answer."""
        channel_id = await self.community.channel(in_channel)
        body = {"member": self.name, "channel_id": channel_id, "name": name, "options": options}
        return await self._answer(await self.community.ask("POST", "command", json=body))

    async def press(self, message: Message, button: str) -> Answer:
        """Presses a button, by its label or the beginning of its custom id."""
        return await self.press_id(message, message.button(button).custom_id)

    async def press_id(self, message: Message, custom_id: str, *, forged: bool = False) -> Answer:
        """Presses a button by its exact custom id; `forged` presses one that is not there."""
        body = {
            "member": self.name,
            "channel_id": message.channel_id,
            "message_id": message.id,
            "custom_id": custom_id,
            "forged": forged,
        }
        return await self._answer(await self.community.ask("POST", "press", json=body))

    async def submit(self, shown: Answer, **values: str) -> Answer:
        """Fills in and sends the modal that an answer showed."""
        body = {"member": self.name, "interaction_id": shown.interaction_id, "values": values}
        return await self._answer(await self.community.ask("POST", "modal", json=body))

    async def react(self, message: Message, emoji: str, *, on: bool = True) -> None:
        """Puts a reaction on a message, or takes it off."""
        body = {"member": self.name, "channel_id": message.channel_id, "message_id": message.id}
        await self.community.ask("POST", "react", json={**body, "emoji": emoji, "on": on})

    async def say(self, text: str, *, in_channel: str = "general") -> str:
        """Writes an ordinary message; returns its id."""
        channel_id = await self.community.channel(in_channel)
        body = {"member": self.name, "channel_id": channel_id, "content": text}
        return str((await self.community.ask("POST", "say", json=body))["message_id"])

    async def messages(self, channel_id: str) -> list[Message]:
        """All that the member sees in a channel or thread, oldest first."""
        query = {"member": self.name, "channel_id": channel_id}
        return [_message(m) for m in await self.community.ask("GET", "messages", params=query)]

    async def message(self, channel_id: str, message_id: str) -> Message:
        """One message as it is now. Raises LookupError when it is gone."""
        for message in await self.messages(channel_id):
            if message.id == message_id:
                return message
        raise LookupError(f"There is no message {message_id}.")

    async def _answer(self, sent: Mapping[str, Any]) -> Answer:
        interaction_id = str(sent["interaction_id"])

        async def answered() -> Answer | None:
            state = await self.community.ask("GET", f"interactions/{interaction_id}")
            if state["failed"]:
                raise NoAnswerError("The application did not respond.")
            if state["kind"] is None or state["loading"]:
                return None
            return Answer(
                interaction_id,
                state["kind"],
                state["ephemeral"],
                tuple(_message(m) for m in state["messages"]),
                state["modal"],
            )

        return await wait_for("an answer", answered, seconds=ANSWER_S, every=0.02)


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


def _message(data: Mapping[str, Any]) -> Message:
    texts: list[str] = []
    buttons: list[Button] = []
    media: list[str] = []
    if data.get("content"):
        texts.append(str(data["content"]))

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for child in node:
                walk(child)
        elif isinstance(node, dict):
            if node.get("type") == TEXT_DISPLAY:
                texts.append(str(node.get("content", "")))
            elif node.get("type") == BUTTON and node.get("custom_id"):
                emoji = (node.get("emoji") or {}).get("name") or ""
                disabled = bool(node.get("disabled"))
                buttons.append(Button(str(node.get("label") or ""), node["custom_id"], emoji, disabled))
            elif node.get("type") == MEDIA_GALLERY:
                media.extend(str(item["media"]["url"]) for item in node.get("items", []))
            for key in ("components", "accessory", "component"):
                walk(node.get(key))

    walk(data.get("components"))
    return Message(
        id=str(data["id"]),
        channel_id=str(data["channel_id"]),
        author=str((data.get("author") or {}).get("username", "")),
        text="\n".join(texts),
        ephemeral=bool(data.get("ephemeral")),
        buttons=tuple(buttons),
        media=tuple(media),
        attachments=tuple(str(a["url"]) for a in data.get("attachments", [])),
        thread_id=str(data["thread"]["id"]) if data.get("thread") else None,
        reactions={r["emoji"]["name"]: int(r["count"]) for r in data.get("reactions") or []},
    )
