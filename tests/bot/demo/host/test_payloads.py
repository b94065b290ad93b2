"""Checks of requests' bodies, without a host."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.demo.host.payloads import creator_of, is_base64, refusal


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("new-asset", {"name": "a"}),
        ("new-asset", {"name": "a", "playbackPolicy": None, "staticMp4": True, "profiles": [{"bitrate": 1}]}),
        ("new-asset", {"name": "a", "creatorId": {"type": "unverified", "value": "c"}, "storage": {"ipfs": True}}),
        ("new-asset-from-url", {"name": "a", "url": "ipfs://x"}),
        ("webhook", {"name": "a", "url": "http://x", "events": ["asset.ready"]}),
        ("asset-patch", {}),
    ],
)
def test_a_body_that_fits_has_no_complaint(kind: str, body: dict[str, Any]) -> None:
    """Optional fields may be left out, and null where Livepeer's schema says so."""
    assert refusal(body, kind) is None


@pytest.mark.parametrize(
    ("kind", "body", "path", "keyword"),
    [
        ("new-asset", [], "", "type"),
        ("new-asset", {}, "", "required"),
        ("new-asset", {"name": 1}, "/name", "type"),
        ("new-asset", {"name": "a", "staticMp4": 1}, "/staticMp4", "type"),
        ("new-asset", {"name": "a", "targetSegmentSizeSecs": True}, "/targetSegmentSizeSecs", "type"),
        ("new-asset", {"name": "a", "extra": 1}, "", "additionalProperties"),
        ("new-asset", {"name": "a", "profiles": [{"bitrate": 1}, {}]}, "/profiles/1", "required"),
        ("new-asset", {"name": "a", "playbackPolicy": {"type": "secret"}}, "/playbackPolicy/type", "enum"),
        ("new-asset-from-url", {"name": "a", "url": "ftp://x"}, "/url", "pattern"),
        ("new-asset-from-url", {"name": "a", "url": 7}, "/url", "type"),
        ("webhook", {"name": "a", "url": "http://x", "events": "asset.ready"}, "/events", "type"),
    ],
)
def test_a_body_that_does_not_fit_is_told_as_ajv_does(kind: str, body: Any, path: str, keyword: str) -> None:
    """The first complaint names the place and the rule."""
    complaint = json.loads(refusal(body, kind) or "null")
    assert (complaint["instancePath"], complaint["keyword"]) == (path, keyword)


def test_a_creator_becomes_an_object() -> None:
    """A string is one that nobody has verified; an object stays, and nothing stays nothing."""
    creator = {"type": "unverified", "value": "c"}
    assert creator_of("c") == creator_of(creator) == creator
    assert creator_of(None) is None


@pytest.mark.parametrize(("text", "right"), [("aGk=", True), ("aGk", False), ("a-k=", False), ("", True)])
def test_base64_is_the_standard_one_with_its_padding(text: str, right: bool) -> None:
    """The URL-safe alphabet is another one."""
    assert is_base64(text) is right
