"""Checks of what Discord refuses and simcord lets pass; each raises the error that Discord gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace

from simcord.backend import Backend, models
from simcord.backend.errors import BackendError

from bot.demo.discord.attachments import MOST_BYTES
from bot.demo.discord.messages import Payload

MOST_FILES = 10
MOST_REQUEST_BYTES = 25 * 1024 * 1024  # of a whole request
MOST_THREADS = 1000  # active at once, in a guild
MOST_NONCE = 25
MOST_TEXT = 4000  # of all texts of a message
MOST_COMPONENTS = 40  # of a message, nested ones included
MOST_CHOICES = 25
MOST_DESCRIPTION = 1024
MOST_EMOJI = 32
MOST_TITLE = 45  # of a modal
_LONGEST = {"custom_id": 100, "label": 80, "url": 512, "placeholder": 150}
_BUTTON, _TEXT, _CONTAINER = 2, 10, 17
ARCHIVE_MINUTES = (60, 1440, 4320, 10080)
_SCHEMES = ("https://", "http://", "attachment://", "discord://")
_THREADS = re.compile(r"/channels/(\d+)/(?:messages/(\d+)/)?threads")
_POSTS = re.compile(r"/channels/(\d+)/messages")
_TOUCHES = re.compile(r"/channels/(\d+)/messages/\d+(?:/reactions/.*)?")


def too_large() -> BackendError:
    """Return the error for a file above 10 MiB, or a request above 25 MiB."""
    return BackendError(413, 40005, "Request entity too large")


def invalid(detail: str) -> BackendError:
    """Return the error for a body that does not hold to a limit."""
    return BackendError(400, 50035, f"Invalid Form Body: {detail}")


def check(backend: Backend, method: str, path: str, body: object, files: list[SimpleNamespace]) -> None:
    """Raise BackendError where Discord would refuse the bot's request."""
    _check_files(files)
    if isinstance(body, dict):
        _check_body(body)
    if method == "POST" and (match := _THREADS.fullmatch(path)):
        _check_new_thread(backend, int(match[1]), match[2], body if isinstance(body, dict) else {})
    if method == "POST" and (match := _POSTS.fullmatch(path)):
        channel = backend.get_channel(int(match[1]))
        if files:
            backend.require_permissions(channel.guild_id, backend.bot_user.id, channel.id, "attach_files")
        _unarchive(backend, channel)
    if method in {"PATCH", "PUT", "DELETE"} and (match := _TOUCHES.fullmatch(path)):
        channel = backend.channels.get(int(match[1]))
        deletes_message = method == "DELETE" and "/reactions/" not in path
        if channel is not None and _is_archived(channel) and not deletes_message:
            raise thread_is_archived()


def thread_is_archived() -> BackendError:
    """Return the error for messages of an archived thread, which can be neither edited nor reacted to."""
    return BackendError(400, 50083, "Thread is archived")


def check_thread_edit(body: object) -> Payload:
    """Return the changes to a thread. Raises BackendError where Discord would refuse them."""
    fields = {"archived", "locked", "auto_archive_duration", "invitable", "name", "rate_limit_per_user"}
    if not isinstance(body, dict) or set(body) - fields:
        raise invalid("a thread has no such field.")
    if "name" in body:
        _check_thread_name(body["name"])
    if body.get("auto_archive_duration", 60) not in ARCHIVE_MINUTES:
        raise invalid(f"auto_archive_duration must be one of {ARCHIVE_MINUTES}.")
    return body


def check_components(components: object) -> None:
    """Raise BackendError for components beyond a limit of Discord's OpenAPI file that simcord lets pass.

    Discord counts characters, and writes nowhere in which unit; this counts in the larger one, UTF-16.
    """
    parts = list(_parts(components))
    if len(parts) > MOST_COMPONENTS:
        raise invalid(f"components: at most {MOST_COMPONENTS} in total.")
    if sum(_units(part.get("content")) for part in parts if part.get("type") == _TEXT) > MOST_TEXT:
        raise invalid(f"components: the text of all of them must be {MOST_TEXT} or fewer in length.")
    for part in parts:
        for key, most in _LONGEST.items():
            if _units(part.get(key)) > most:
                raise invalid(f"components: {key} must be {most} or fewer in length.")
        if part.get("type") == _CONTAINER and not part.get("components"):
            raise invalid("components: a container holds between 1 and 40 of them.")
        if part.get("type") == _BUTTON and not (part.get("label") or part.get("emoji") or part.get("sku_id")):
            raise invalid("components: a button has a label or an emoji.")
        if isinstance(emoji := part.get("emoji"), dict) and _units(emoji.get("name")) > MOST_EMOJI:
            raise invalid(f"components: an emoji's name must be {MOST_EMOJI} or fewer in length.")
        for item in [part, *(part.get("items") or [])]:
            if _units(item.get("description")) > MOST_DESCRIPTION:
                raise invalid(f"components: description must be {MOST_DESCRIPTION} or fewer in length.")


def _parts(tree: object) -> Iterator[Payload]:
    for node in tree if isinstance(tree, list) else [tree]:
        if isinstance(node, dict):
            yield node
            for key in ("components", "accessory", "component"):
                yield from _parts(node.get(key))


def _units(text: object) -> int:
    return len(text) + sum(character > "\uffff" for character in text) if isinstance(text, str) else 0


def _check_choices(choices: object) -> None:
    if not isinstance(choices, list) or len(choices) > MOST_CHOICES:
        raise invalid(f"choices must be {MOST_CHOICES} or fewer in length.")
    for choice in choices:
        if not 1 <= _units(choice.get("name")) <= 100 or _units(choice.get("value")) > 100:
            raise invalid("choices: name and value must be between 1 and 100 in length.")


def _check_files(files: list[SimpleNamespace]) -> None:
    if len(files) > MOST_FILES:
        raise invalid(f"attachments must be {MOST_FILES} or fewer in length.")
    if any(len(file.fp.getbuffer()) > MOST_BYTES for file in files):
        raise too_large()


def _check_body(body: Payload) -> None:
    if len(str(body.get("nonce") or "")) > MOST_NONCE:
        raise invalid(f"nonce must be {MOST_NONCE} or fewer in length.")
    inner = body.get("data")
    message = inner if isinstance(inner, dict) else body
    check_components(message.get("components") or [])
    if "choices" in message:
        _check_choices(message["choices"])
    if _units(message.get("title")) > MOST_TITLE:
        raise invalid(f"title must be {MOST_TITLE} or fewer in length.")
    for part in ("components", "embeds", "embed"):
        for url in _urls(message.get(part)):
            if not url.lower().startswith(_SCHEMES):
                raise invalid("url: Scheme must be one of ('http', 'https', 'attachment', 'discord').")


def _check_new_thread(backend: Backend, channel_id: int, message_id: str | None, body: Payload) -> None:
    _check_thread_name(body.get("name"))
    if body.get("auto_archive_duration", 60) not in ARCHIVE_MINUTES:
        raise invalid(f"auto_archive_duration must be one of {ARCHIVE_MINUTES}.")
    if message_id is not None and int(message_id) in backend.channels:
        raise BackendError(400, 160004, "A thread has already been created for this message")
    guild_id = backend.get_channel(channel_id).guild_id
    if guild_id is not None and len(backend.active_threads(guild_id)) >= MOST_THREADS:
        raise BackendError(400, 160006, "Maximum number of active threads reached")


def _check_thread_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= _units(name) <= 100:
        raise invalid("name must be between 1 and 100 in length.")


def _unarchive(backend: Backend, channel: models.Channel) -> None:
    """Open an archived thread again, as a message posted into it does where the poster may do that."""
    if not _is_archived(channel):
        return
    if channel.thread_metadata.locked:
        backend.require_permissions(channel.guild_id, backend.bot_user.id, channel.id, "manage_threads")
    backend.edit_channel(channel.id, {}, thread_metadata={"archived": False})


def _is_archived(channel: models.Channel) -> bool:
    return bool(channel.is_thread and channel.thread_metadata.archived)


def _urls(tree: object) -> list[str]:
    """Return every address in a tree of components or embeds."""
    urls: list[str] = []
    if isinstance(tree, dict):
        if isinstance(tree.get("url"), str):
            urls.append(tree["url"])
        for value in tree.values():
            urls += _urls(value)
    elif isinstance(tree, list):
        for value in tree:
            urls += _urls(value)
    return urls
