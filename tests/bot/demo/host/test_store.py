"""The disk of the embedded host: assets, their phases, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.demo.host.store import Asset, Store, fresh_file


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    yield store
    store.close()


def new(store: Store, name: str = "a video") -> Asset:
    return store.create(
        name=name, phase="uploading", source={"type": "directUpload"}, creator=None, policy=None, static_mp4=True
    )


def test_an_asset_is_found_by_all_its_ids(store: Store) -> None:
    """What is written is read again; an unknown id is a KeyError."""
    asset = new(store)
    assert store.get(asset.id) == store.by_playback_id(asset.playback_id) == asset
    for look in (store.get, store.by_playback_id, store.by_upload_id):
        with pytest.raises(KeyError):
            look("unknown")


def test_a_change_may_depend_on_the_phase(store: Store) -> None:
    """It is made in the expected phase alone, and observers hear of it with the phase before."""
    seen: list[tuple[str, str | None]] = []
    store.observe = lambda asset, before: seen.append((asset.phase, before))
    asset = new(store)
    assert not store.update(asset.id, expect="failed", phase="waiting")
    assert store.update(asset.id, expect="uploading", phase="waiting")
    assert seen == [("uploading", None), ("waiting", "uploading")]
    with pytest.raises(ValueError, match="no such column"):
        store.update(asset.id, **{"name = 'x' --": 1})


def test_a_start_finishes_what_a_killed_process_had_received(store: Store) -> None:
    """A whole upload waits to be processed, half an upload stays one, and a video half prepared waits again."""
    whole, half, prepared = new(store), new(store), new(store)
    for asset, upload_id, data in ((whole, "whole", b"12"), (half, "half", b"1")):
        store.update(asset.id, upload_id=upload_id, upload_length=2)
        store.part(upload_id).write_bytes(data)
    store.update(prepared.id, phase="processing", progress=0.5)
    store.recover()
    assert [store.get(asset.id).phase for asset in (whole, half, prepared)] == ["waiting", "uploading", "waiting"]
    assert store.source(whole).read_bytes() == b"12"
    assert store.part("half").read_bytes() == b"1"


def test_one_process_at_a_time(store: Store) -> None:
    """A second one is told at once, and the first one goes on."""
    with pytest.raises(BlockingIOError):
        Store(store.root)
    assert new(store).phase == "uploading"


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """A write that breaks leaves the old file, and no draft."""
    target = tmp_path / "file"
    with fresh_file(target) as draft:
        draft.write_text("one")
    with pytest.raises(OSError, match="broken"), fresh_file(target) as draft:  # the write is what breaks
        draft.write_text("two")
        raise OSError("broken")
    assert target.read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]
