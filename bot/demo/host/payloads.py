"""Checks of requests' bodies. Refusals look like those of ajv, the validator that Livepeer uses."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable

from bot.demo.host.store import JsonObject

Check = Callable[[object, str], "JsonObject | None"]  # a value and where it stands; None, or ajv's complaint


def refusal(body: object, kind: str) -> str | None:
    """Return the first complaint about a body as a JSON string, or None; the kinds are those of `_BODIES`."""
    complaint = _BODIES[kind](body, "")
    return None if complaint is None else json.dumps(complaint, separators=(",", ":"))


def creator_of(creator: object) -> JsonObject | None:
    """Return the object that answers hold; requests may name a creator by a mere string instead."""
    if isinstance(creator, str):
        return {"type": "unverified", "value": creator}
    return creator if isinstance(creator, dict) else None


def is_base64(text: str) -> bool:
    """True where a text is standard base64, padded."""
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


def _complaint(where: str, keyword: str, params: JsonObject, message: str) -> JsonObject:
    return {
        "instancePath": where,
        "schemaPath": f"#{where}/{keyword}",
        "keyword": keyword,
        "params": params,
        "message": message,
    }


def _is(name: str, *kinds: type) -> Check:
    def check(value: object, where: str) -> JsonObject | None:
        # True is an int to Python, and not to JSON.
        if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)):
            return None
        return _complaint(where, "type", {"type": name}, f"must be {name}")

    return check


def _one_of(*allowed: str) -> Check:
    def check(value: object, where: str) -> JsonObject | None:
        if value in allowed and isinstance(value, str):
            return None
        return _complaint(where, "enum", {"allowedValues": list(allowed)}, "must be equal to one of the allowed values")

    return check


def _matches(pattern: str) -> Check:
    def check(value: object, where: str) -> JsonObject | None:
        if not isinstance(value, str):
            return _STRING(value, where)
        if re.search(pattern, value):
            return None
        return _complaint(where, "pattern", {"pattern": pattern}, f'must match pattern "{pattern}"')

    return check


def _object(fields: dict[str, Check], required: tuple[str, ...] = ()) -> Check:
    def check(value: object, where: str) -> JsonObject | None:
        if not isinstance(value, dict):
            return _ANY_OBJECT(value, where)
        for name in required:
            if name not in value:
                return _complaint(where, "required", {"missingProperty": name}, f"must have required property '{name}'")
        for name in value:
            if name not in fields:
                params = {"additionalProperty": name}
                return _complaint(where, "additionalProperties", params, "must NOT have additional properties")
        return next((wrong for name, item in value.items() if (wrong := fields[name](item, f"{where}/{name}"))), None)

    return check


def _list(item: Check) -> Check:
    def check(value: object, where: str) -> JsonObject | None:
        if not isinstance(value, list):
            return _ANY_LIST(value, where)
        return next((wrong for i, entry in enumerate(value) if (wrong := item(entry, f"{where}/{i}"))), None)

    return check


def _either(*checks: Check) -> Check:
    def check_all(value: object, where: str) -> JsonObject | None:
        complaints = [check(value, where) for check in checks]
        return None if None in complaints else complaints[-1]

    return check_all


_STRING = _is("string", str)
_NUMBER = _is("number", int, float)
_INTEGER = _is("integer", int)
_BOOLEAN = _is("boolean", bool)
_NULL = _is("null", type(None))
_ANY_OBJECT = _is("object", dict)
_ANY_LIST = _is("array", list)

_POLICY = _either(
    _NULL,
    _object(
        {
            "type": _one_of("public", "jwt", "webhook"),
            "webhookId": _STRING,
            "webhookContext": _ANY_OBJECT,
            "refreshInterval": _NUMBER,
            "allowedOrigins": _list(_STRING),
        },
        ("type",),
    ),
)
_CREATOR = _either(_STRING, _object({"type": _one_of("unverified"), "value": _STRING}, ("type", "value")))
_IPFS_SPEC = _object({"nftMetadataTemplate": _one_of("file", "player"), "nftMetadata": _ANY_OBJECT})
_STORAGE = _object({"ipfs": _either(_NULL, _BOOLEAN, _object({"spec": _either(_NULL, _IPFS_SPEC)}))})
_PROFILE = _object(
    {
        **dict.fromkeys(("width", "height", "bitrate", "quality", "fps", "fpsDen"), _INTEGER),
        **dict.fromkeys(("name", "gop"), _STRING),
        "profile": _one_of("H264Baseline", "H264Main", "H264High", "H264ConstrainedHigh"),
        "encoder": _one_of("H.264", "HEVC", "VP8", "VP9"),
    },
    ("bitrate",),
)
_NEW: dict[str, Check] = {
    "name": _STRING,
    "staticMp4": _BOOLEAN,
    "playbackPolicy": _POLICY,
    "creatorId": _CREATOR,
    "storage": _STORAGE,
    "encryption": _object({"encryptedKey": _STRING}, ("encryptedKey",)),
    "c2pa": _BOOLEAN,
    "profiles": _either(_NULL, _list(_PROFILE)),
    "targetSegmentSizeSecs": _NUMBER,
}
_EVENTS = (
    *(f"stream.{event}" for event in ("started", "detection", "idle")),
    *(f"recording.{event}" for event in ("ready", "started", "waiting")),
    *(f"multistream.{event}" for event in ("connected", "error", "disconnected")),
    *("playback.user.new", "playback.accessControl"),
    *(f"asset.{event}" for event in ("created", "updated", "failed", "ready", "deleted")),
    *(f"task.{event}" for event in ("spawned", "updated", "completed", "failed")),
)
_BODIES: dict[str, Check] = {
    "new-asset": _object(_NEW, ("name",)),
    "new-asset-from-url": _object({**_NEW, "url": _matches(r"^(https?|ipfs|ar)://")}, ("name", "url")),
    "webhook": _object(
        {
            **dict.fromkeys(("name", "projectId", "streamId", "sharedSecret"), _STRING),
            "url": _matches("^http(s)?://"),
            "events": _list(_one_of(*_EVENTS)),
        },
        ("name", "url"),
    ),
    "asset-patch": _object({key: _NEW[key] for key in ("name", "creatorId", "playbackPolicy", "storage")}),
}
