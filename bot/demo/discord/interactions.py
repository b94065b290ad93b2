"""Interactions from their beginning to the answer that a person sees, with Discord's deadlines on the real clock."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import datetime, timedelta

from simcord import interactions as simcord_interactions
from simcord.backend import models, serializers

from bot.demo.discord.attachments import MOST_BYTES
from bot.demo.discord.messages import Payload
from bot.demo.discord.world import World

ANSWER_S = 3.0  # for the first answer
TOKEN_S = 15 * 60.0  # for all that follows
MOST_KEPT = 5000
COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 2, 3, 4, 5
SUBCOMMANDS = {1, 2}  # types of options: a subcommand, and a group of them


class Interactions:
    """The open and the answered interactions; old ones are forgotten."""

    def __init__(self, world: World, *, answer_s: float = ANSWER_S, token_s: float = TOKEN_S) -> None:
        self.world = world
        self._answer_s = answer_s
        self._token_s = token_s
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}

    def open(
        self, kind: int, member_id: int, channel_id: int, data: Payload, message: models.Message | None = None
    ) -> tuple[int, Payload]:
        """Open an interaction; returns its id, and the payload for the bot."""
        backend = self.world.backend
        record, payload = simcord_interactions.base_payload(
            backend,
            type=kind,
            channel_id=channel_id,
            guild_id=backend.get_channel(channel_id).guild_id,
            user_id=member_id,
            data=data,
        )
        # A token lets its holder speak as the bot: nobody may guess it.
        del backend.interaction_tokens[record.token]
        record.token = payload["token"] = secrets.token_urlsafe(48)
        backend.interaction_tokens[record.token] = record.id
        record.initial_response_deadline = backend.iso_after(self._answer_s)
        record.expires_at = backend.iso_after(self._token_s)
        payload["attachment_size_limit"] = MOST_BYTES
        if record.command_name is not None:
            record.command_name = _whole_name(data)
        if message is not None:
            payload["message"] = plain(serializers.message_payload(backend, message))
            record.source_message_id = message.id
        self._forget_old()
        return record.id, payload

    def of_path(self, path: str) -> int | None:
        """Return the id of the interaction that a request such as /webhooks/{application}/{token}/… is about."""
        parts = path.strip("/").split("/")
        if len(parts) < 3 or parts[0] not in {"interactions", "webhooks"}:
            return None
        interaction_id: int | None = self.world.backend.interaction_tokens.get(parts[2])
        return interaction_id

    def is_too_late(self, interaction_id: int, path: str) -> bool:
        """Return True for a follow-up that comes after its token has expired."""
        record = self.world.backend.interactions[interaction_id]
        return path.startswith("/webhooks/") and bool(record.expires_at <= self.world.backend.now_iso())

    def changed(self, interaction_id: int) -> None:
        """Wake all who wait for the answer."""
        for waiter in self._waiting.pop(interaction_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, interaction_id: int, seconds: float) -> Payload | None:
        """Return the status, once the interaction is answered or has failed, or after so many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            status = self.status(interaction_id)
            if status is None or is_settled(status) or (remaining := until - loop.time()) <= 0:
                return status
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.setdefault(interaction_id, set()).add(waiter)
            try:
                # No event marks the first deadline: look again shortly after it.
                await asyncio.wait({waiter}, timeout=min(remaining, self._answer_s + 0.01))
            finally:
                if waiters := self._waiting.get(interaction_id):  # nobody woke us
                    waiters.discard(waiter)
                    if not waiters:
                        del self._waiting[interaction_id]

    def status(self, interaction_id: int) -> Payload | None:
        """Return what the member sees of an interaction; None where there is no such interaction (any more)."""
        backend = self.world.backend
        record = backend.interactions.get(interaction_id)
        if record is None:
            return None
        messages = backend.messages.get(record.channel_id, {})
        now = backend.now_iso()
        kind = record.response_kind.value if record.response_kind else None
        return {
            "id": str(record.id),
            "type": record.type,
            "member": backend.users[record.user_id].name,
            "channel_id": str(record.channel_id),
            "kind": kind,
            # A person reads: "The application did not respond."
            "failed": not record.responded and now >= record.initial_response_deadline,
            "expired": now >= record.expires_at,
            "loading": record.loading,
            "ephemeral": record.ephemeral,
            "messages": [
                self.describe(messages[i]) for i in [record.message_id, *record.followup_ids] if i in messages
            ],
            "changed": self._changed(record) if kind == "deferred_update" else [],
            "modal": record.modal,
            "choices": record.autocomplete_choices,
        }

    def describe(self, message: models.Message) -> Payload:
        """Return a message as its readers see it, with its thread, and the one member that it is for, if it is."""
        backend = self.world.backend
        payload: Payload = plain(serializers.message_payload(backend, message))
        payload["ephemeral"] = message.is_ephemeral
        payload["reacted"] = {
            reaction.emoji: [backend.users[i].name for i in reaction.user_ids if i in backend.users]
            for reaction in message.reactions
            if reaction.user_ids
        }
        if message.is_ephemeral:
            user_id = int(((message.interaction_metadata or {}).get("user") or {}).get("id") or 0)
            payload["only_for"] = backend.users[user_id].name if user_id in backend.users else None
        thread = backend.channels.get(message.id)
        if thread is not None:
            payload["thread"] = plain(serializers.channel_payload(backend, thread))
        return payload

    def _changed(self, record: models.Interaction) -> list[Payload]:
        """Return what the member sees change where a press has no answer of its own.

        These are their own earlier answers to presses on the same message, edited since this press.
        """
        asked = datetime.fromisoformat(record.initial_response_deadline) - timedelta(seconds=self._answer_s)
        messages = self.world.backend.messages.get(record.channel_id, {})
        answers = {
            each.message_id
            for each in self.world.backend.interactions.values()
            if (each.user_id, each.source_message_id) == (record.user_id, record.source_message_id)
        }
        edited = [
            messages[message_id]
            for message_id in sorted({*answers, record.source_message_id} & set(messages))
            if messages[message_id].is_ephemeral and messages[message_id].edited_timestamp is not None
        ]
        return [self.describe(each) for each in edited if datetime.fromisoformat(each.edited_timestamp) >= asked]

    def _forget_old(self) -> None:
        """Forget the oldest interactions, since a server runs for days.

        Messages that only one member saw go with them, as with a client's restart.
        """
        backend = self.world.backend
        while len(backend.interactions) > MOST_KEPT:
            record = backend.interactions.pop(next(iter(backend.interactions)))
            backend.interaction_tokens.pop(record.token, None)
            messages = backend.messages.get(record.channel_id, {})
            for message_id in [record.message_id, *record.followup_ids]:
                if message_id in messages and messages[message_id].is_ephemeral:
                    del messages[message_id]
        if len(backend._reserved_ids) > 20 * MOST_KEPT:
            # simcord remembers every id that it gave; past ones cannot come again, since ids hold the time.
            latest = max(backend._sequences)
            backend._reserved_ids = {i for i in backend._reserved_ids if i >> 22 >= latest}
            backend._sequences = {latest: backend._sequences[latest]}


def _whole_name(data: Payload) -> str:
    """Return a command's name with its subcommands: interaction metadata holds all of it, as in "wallet show"."""
    names, node = [str(data["name"])], data
    while below := next((o for o in node.get("options") or [] if o.get("type") in SUBCOMMANDS), None):
        names.append(str(below["name"]))
        node = below
    return " ".join(names)


def is_settled(status: Payload) -> bool:
    """Return True when a person waits no longer."""
    return bool(status["failed"] or status["expired"] or (status["kind"] is not None and not status["loading"]))


def plain(payload: object) -> Payload:
    """Return a payload as it comes off the wire: a copy of plain JSON types."""
    copy: Payload = json.loads(json.dumps(payload, default=str))
    return copy
