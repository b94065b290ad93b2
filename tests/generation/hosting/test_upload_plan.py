"""The plan of a presigned upload: it survives its JSON, and another release's is refused as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from generation.hosting.upload_plan import (
    PLAYLIST,
    POSTER,
    STREAM,
    VIDEO,
    MultipartObject,
    SingleObject,
    UploadPlan,
)

URL = "https://store.example/videos/key?X-Amz-Signature=secret"


def in_parts(name: str) -> MultipartObject:
    return MultipartObject(name, 8, URL + "1", URL + "2", URL + "3", (URL + "4", URL + "5"))


PLAN = UploadPlan(
    expires_at=1_800_000_000,
    video=in_parts(VIDEO),
    stream=in_parts(STREAM),
    poster=SingleObject(POSTER, URL, {"Content-Type": "image/jpeg"}),
    playlist=SingleObject(PLAYLIST, URL),
)


def test_a_plan_survives_its_json() -> None:
    """With the keys that workers of earlier releases read."""
    data = json.loads(json.dumps(PLAN.to_json()))
    assert UploadPlan.from_json(data) == PLAN
    assert [each["name"] for each in data["objects"]] == [VIDEO, STREAM, POSTER, PLAYLIST]
    assert set(data["objects"][0]) == {"name", "part_bytes", "list", "complete", "head", "parts"}
    assert set(data["objects"][2]) == {"name", "url", "headers"}


def test_no_address_is_printed() -> None:
    """Each of them lets whoever reads it write to the store."""
    assert "secret" not in repr(PLAN)


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, {"part_bytes": 0}),
        (0, {"part_bytes": "many"}),
        (0, {"parts": []}),
        (0, {"parts": None}),
        (0, {"list": None}),
        (1, {"parts": ["file:///etc/passwd"]}),
        (2, {"url": "ftp://store.example"}),
        (2, {"headers": ["x"]}),
        (3, {"name": "other"}),
    ],
)
def test_a_plan_of_another_form_is_refused(number: int, change: dict[str, Any]) -> None:
    """Before anything is sent."""
    data = json.loads(json.dumps(PLAN.to_json()))
    data["objects"][number] |= change
    with pytest.raises(ValueError, match="The plan of the upload cannot be read"):
        UploadPlan.from_json(data)


@pytest.mark.parametrize("data", [{}, {"objects": None}, {"objects": 3}, {"objects": [3]}, {"objects": [{}]}], ids=str)
def test_what_is_no_plan_is_refused(data: dict[str, Any]) -> None:
    """With the same sentence."""
    with pytest.raises(ValueError, match="plan"):
        UploadPlan.from_json(data)
