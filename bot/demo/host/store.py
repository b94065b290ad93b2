"""The embedded host's disk: assets and their phases in SQLite, bytes in files whose names it chooses itself.

    state/host.db                  assets and their phases
    state/incoming/<upload>.part   bytes of an upload; the file's size is the upload's offset
    state/media/<playback id>/     what is served: static<height>p0.mp4, index.m3u8, thumbnails/…

A process that is killed at any byte finds on its next start all that it had acknowledged: rows are committed with
FULL synchronisation, bytes are synced before they are acknowledged, and whole files appear by rename.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from generation.hosting.host import Phase

_SCHEMA = """
CREATE TABLE IF NOT EXISTS host (id INTEGER PRIMARY KEY CHECK (id = 1), user_id TEXT NOT NULL, secret TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS asset (
    id TEXT PRIMARY KEY, playback_id TEXT NOT NULL UNIQUE, task_id TEXT NOT NULL, name TEXT NOT NULL,
    creator TEXT, source TEXT NOT NULL, source_url TEXT, policy TEXT, static_mp4 INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    phase TEXT NOT NULL, progress REAL, error TEXT,
    upload_id TEXT UNIQUE, upload_length INTEGER,
    hls_ready INTEGER NOT NULL DEFAULT 0, size INTEGER, sha256 TEXT, video_spec TEXT, mp4 TEXT,
    views INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS webhook (id TEXT PRIMARY KEY, hook TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS asset_phase ON asset (phase);
"""
_PLAYBACK_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


JsonObject = dict[str, object]


class VideoSpec(TypedDict):
    """The facts of an uploaded video, as the API shows them. The first track is the picture's."""

    format: str
    duration: float  # seconds
    bitrate: int
    tracks: list[JsonObject]


class Mp4(TypedDict):
    """The facts of a static mp4, once it is served."""

    file: str
    size: int
    width: int
    height: int
    bitrate: int


class Hook(TypedDict, total=False):
    """A webhook as it was asked for, with the id and the time that it got."""

    id: str
    createdAt: int
    name: str
    url: str
    events: list[str]
    sharedSecret: str
    projectId: str
    streamId: str


@dataclass(frozen=True)
class Asset:
    """One row of the table; JSON columns are parsed."""

    id: str
    playback_id: str
    task_id: str
    name: str
    creator: JsonObject | None
    source: JsonObject
    source_url: str | None
    policy: JsonObject | None
    static_mp4: bool
    created_at: int  # milliseconds, as in the API
    updated_at: int
    phase: Phase
    progress: float | None
    error: str | None
    upload_id: str | None
    upload_length: int | None
    hls_ready: bool
    size: int | None
    sha256: str | None
    video_spec: VideoSpec | None
    mp4: Mp4 | None
    views: int

    @property
    def is_gone(self) -> bool:
        return self.phase in {"deleting", "deleted"}


_JSON = {"creator", "source", "policy", "video_spec", "mp4"}
_COLUMNS = frozenset(Asset.__annotations__)


class Store:
    """An open state directory, made where there is none. A second process that opens it gets BlockingIOError."""

    def __init__(self, state: Path) -> None:
        self.root = state
        self.incoming = state / "incoming"
        self.media = state / "media"
        for folder in (state, self.incoming, self.media):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(state / "lock")
        self._db = sqlite3.connect(state / "host.db", isolation_level=None)
        (state / "host.db").chmod(0o600)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO host VALUES (1, ?, ?)", (str(uuid.uuid4()), secrets.token_hex(32)))
        row = self._db.execute("SELECT user_id, secret FROM host").fetchone()
        self.user_id: str = row["user_id"]
        self.secret: bytes = bytes.fromhex(row["secret"])
        self.observe: Callable[[Asset, Phase | None], None] = lambda _asset, _before: None  # see `Webhooks.changed`

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    def create(
        self,
        *,
        name: str,
        phase: Phase,
        source: JsonObject,
        creator: JsonObject | None,
        policy: JsonObject | None,
        static_mp4: bool,
    ) -> Asset:
        now = _now()
        asset_id = str(uuid.uuid4())
        playback_id = "".join(secrets.choice(_PLAYBACK_ALPHABET) for _ in range(16))
        self._db.execute(
            "INSERT INTO asset (id, playback_id, task_id, name, creator, source, source_url, policy, static_mp4,"
            " created_at, updated_at, phase) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                asset_id, playback_id, str(uuid.uuid4()), name, _dump(creator), json.dumps(source), source.get("url"),
                _dump(policy), static_mp4, now, now, phase,
            ),
        )  # fmt: skip
        asset = self.get(asset_id)
        self.observe(asset, None)
        return asset

    def get(self, asset_id: str) -> Asset:
        """Return an asset. Raises KeyError."""
        return self._find("id = ?", asset_id)

    def by_playback_id(self, playback_id: str) -> Asset:
        """Return the asset that plays under an id. Raises KeyError."""
        return self._find("playback_id = ?", playback_id)

    def by_upload_id(self, upload_id: str) -> Asset:
        """Return the asset that an upload is for. Raises KeyError."""
        return self._find("upload_id = ?", upload_id)

    def by_source_url(self, url: str) -> Asset | None:
        """Return the asset that was made from an address before and is not deleted, as Livepeer deduplicates."""
        assets = self.select("source_url = ? AND phase NOT IN ('failed', 'deleting', 'deleted')", (url,))
        return assets[0] if assets else None

    def select(self, where: str, values: tuple[object, ...] = (), tail: str = "") -> list[Asset]:
        """Return rows by a condition that our own code wrote; every value is bound."""
        rows = self._db.execute(f"SELECT * FROM asset WHERE {where} {tail}", values)  # noqa: S608 - see above
        return [_asset(row) for row in rows]

    def count(self, *phases: Phase) -> int:
        marks = ",".join("?" * len(phases))
        query = f"SELECT count(*) FROM asset WHERE phase IN ({marks})"  # noqa: S608 - question marks only
        return int(self._db.execute(query, phases).fetchone()[0])

    def update(self, asset_id: str, *, expect: Phase | None = None, **values: object) -> bool:
        """Change columns in one commit; with `expect`, only while the asset is in that phase. Tells if it did."""
        if not values.keys() <= _COLUMNS:
            raise ValueError("An asset has no such column.")
        values["updated_at"] = _now()
        sets = ", ".join(f"{column} = ?" for column in values)
        bound = [_dump(v) if k in _JSON else v for k, v in values.items()]
        query = f"UPDATE asset SET {sets} WHERE id = ?"  # noqa: S608 - columns are checked, values are bound
        if expect is not None:
            query, bound = query + " AND phase = ?", [*bound, asset_id, expect]
        else:
            bound.append(asset_id)
        before = self.get(asset_id).phase
        changed = self._db.execute(query, bound).rowcount == 1
        if changed:
            self.observe(self.get(asset_id), before)
        return changed

    def keep_webhook(self, hook_id: str, hook: Hook | None) -> None:
        """Keep a webhook; None forgets it."""
        if hook is None:
            self._db.execute("DELETE FROM webhook WHERE id = ?", (hook_id,))
        else:
            self._db.execute("INSERT INTO webhook VALUES (?, ?)", (hook_id, json.dumps(hook)))

    def webhooks(self) -> list[Hook]:
        """Return all webhooks, oldest first."""
        return [json.loads(row["hook"]) for row in self._db.execute("SELECT hook FROM webhook ORDER BY rowid")]

    def count_view(self, playback_id: str) -> None:
        self._db.execute("UPDATE asset SET views = views + 1 WHERE playback_id = ?", (playback_id,))

    def part(self, upload_id: str) -> Path:
        return self.incoming / f"{upload_id}.part"

    def source(self, asset: Asset) -> Path:
        """Return the path of the whole upload, which is there once it is complete."""
        return self.incoming / f"{asset.playback_id}.source"

    def folder(self, asset: Asset) -> Path:
        return self.media / asset.playback_id

    def drop_files(self, asset: Asset) -> None:
        shutil.rmtree(self.folder(asset), ignore_errors=True)
        self.source(asset).unlink(missing_ok=True)
        if asset.upload_id:
            self.part(asset.upload_id).unlink(missing_ok=True)

    def complete_upload(self, asset: Asset, part: Path) -> bool:
        """Turn uploading into waiting: first the bytes stand under their final name, then the row says so.

        Returns True if it did; an asset that has moved on meanwhile keeps what it has.
        """
        if self.get(asset.id).phase != "uploading":
            part.unlink(missing_ok=True)
            return False
        sync_file(part)
        part.replace(self.source(asset))
        sync_folder(self.incoming)
        return self.update(asset.id, expect="uploading", phase="waiting")

    def recover(self) -> None:
        """Finish the uploads that a killed process had received in full, and queue again what it was preparing."""
        for asset in self.select("phase = 'uploading' AND upload_id IS NOT NULL"):
            part = self.part(asset.upload_id or "")
            if self.source(asset).exists():
                self.update(asset.id, expect="uploading", phase="waiting")
            elif part.exists() and part.stat().st_size == asset.upload_length:
                self.complete_upload(asset, part)
        for asset in self.select("phase = 'processing'"):
            self.update(asset.id, expect="processing", phase="waiting", progress=None)
        for asset in self.select("phase IN ('deleting', 'deleted')"):
            self.drop_files(asset)
        for asset in self.select("phase = 'ready'"):
            self.source(asset).unlink(missing_ok=True)
        for draft in self.root.glob("*/**/.*"):
            draft.unlink(missing_ok=True)

    def _find(self, where: str, value: str) -> Asset:
        assets = self.select(where, (value,))
        if not assets:
            raise KeyError(value)
        return assets[0]


@contextmanager
def fresh_file(target: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `target` when all went well, by rename and synced, or else vanishes."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        sync_file(draft)
        draft.replace(target)
        sync_folder(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _asset(row: sqlite3.Row) -> Asset:
    values = {key: row[key] for key in row.keys()}  # noqa: SIM118 - iterating a Row gives its values
    for column in _JSON:
        values[column] = json.loads(values[column]) if values[column] is not None else None
    values["static_mp4"], values["hls_ready"] = bool(values["static_mp4"]), bool(values["hls_ready"])
    return Asset(**values)


def _dump(value: object) -> str | None:
    return None if value is None else json.dumps(value)


def _now() -> int:
    return time.time_ns() // 1_000_000
