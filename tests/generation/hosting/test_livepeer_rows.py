"""Rows of another party: what is missing or odd in them is left out, or refused as a whole."""

from __future__ import annotations

import pytest

from generation.hosting.livepeer_rows import asset_of, checked_id, first_url, number_of, url_of

MP4, PICTURE = "html5/video/mp4", "image/png"


def test_an_asset_needs_no_more_than_its_id() -> None:
    """A phase that nobody knows yet is taken for processing."""
    asset = asset_of({"id": "a-1", "status": {"phase": "dreaming", "progress": True}, "size": 3.0})
    assert (asset.asset_id, asset.phase, asset.progress, asset.size_bytes, asset.playback_id) == (
        "a-1", "processing", None, 3, None,
    )  # fmt: skip


@pytest.mark.parametrize("row", [None, [], {}, {"id": "../a"}, {"id": 1}, {"id": "a", "status": ["x"]}])
def test_what_is_no_asset_is_refused(row: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        asset_of(row)


@pytest.mark.parametrize("value", ["", "a/b", "a b", "x" * 129, None])
def test_an_id_is_safe_in_a_path(value: object) -> None:
    assert checked_id("aB-9_") == "aB-9_"
    with pytest.raises(ValueError, match="letters, digits"):
        checked_id(value)


def test_numbers_and_addresses_are_such_or_none() -> None:
    assert (number_of(3), number_of(True), number_of("3")) == (3.0, None, None)
    assert url_of({"url": "https://a.example/v.mp4"}) == "https://a.example/v.mp4"
    assert url_of({"url": "file:///etc/passwd"}) is None
    sources = [{"type": MP4, "url": "x"}, {"type": PICTURE, "url": "https://a.example/1.png"}]
    assert first_url(sources, MP4, PICTURE) == "https://a.example/1.png"
    assert first_url(sources, MP4) is None
