"""The background work on assets: waiting, processing with progress, ready or failed. HLS plays before the mp4 does."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from bot.demo.host import media
from bot.demo.host.config import Faults, HostConfig
from bot.demo.host.store import Asset, Store, fresh_file

log = logging.getLogger(__name__)


class Phases:
    """Takes assets that wait, oldest first, and a few at a time. An asset that a crash interrupts waits again."""

    def __init__(self, store: Store, config: HostConfig, faults: Faults) -> None:
        self._store = store
        self._config = config
        self._faults = faults
        self._gate = asyncio.Semaphore(config.at_once)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        for asset in self._store.select("phase IN ('waiting', 'deleting')", (), "ORDER BY created_at"):
            self.take(asset.id)

    def take(self, asset_id: str) -> None:
        """Work on an asset that has begun to wait, or to be deleted."""
        previous = self._tasks.get(asset_id)
        task = asyncio.create_task(self._run(asset_id, previous))
        self._tasks[asset_id] = task
        task.add_done_callback(lambda finished: self._forget(asset_id, finished))

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, asset_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(asset_id) is task:
            del self._tasks[asset_id]

    async def _run(self, asset_id: str, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        asset = self._store.get(asset_id)
        if asset.phase == "deleting":
            await asyncio.sleep(self._config.hasten(self._config.delete_after_s))
            await asyncio.to_thread(self._store.drop_files, asset)
            self._store.update(asset_id, expect="deleting", phase="deleted")
            return
        if asset.phase != "waiting" or self._faults.stick_in == "waiting":
            return
        await self._faults.on_demand.hold("waiting")
        async with self._gate:
            if not self._store.update(asset_id, expect="waiting", phase="processing", progress=0.0):
                return
            try:
                await self._prepare(asset)
            except media.UnplayableError as error:
                self._fail(asset, str(error))
            except OSError as error:
                self._fail(asset, f"The host could not store the video ({type(error).__name__}).")
            except Exception:
                log.exception("Preparing asset %s failed.", asset_id)
                self._fail(asset, "internal error processing file")

    def _fail(self, asset: Asset, reason: str) -> None:
        self._store.update(asset.id, expect="processing", phase="failed", progress=None, error=reason)

    async def _prepare(self, asset: Asset) -> None:
        store, source, folder = self._store, self._store.source(asset), self._store.folder(asset)
        if asset.source_url and not source.exists():
            await fetch(asset.source_url, source, self._config.max_upload_bytes)
        probed = await asyncio.to_thread(media.probe, source)
        if probed.duration_s < self._config.fail_shorter_than_s:
            raise media.UnplayableError(f"The video is shorter than {self._config.fail_shorter_than_s:g} seconds.")
        if (failure := self._faults.fail_with or self._faults.on_demand.failure()) is not None:
            raise media.UnplayableError(failure)
        digest = await asyncio.to_thread(media.sha256, source)
        self._progress(asset, 0.25, size=source.stat().st_size, sha256=digest, video_spec=probed.video_spec())
        await asyncio.to_thread(media.write_hls, source, probed.format, folder)
        await asyncio.to_thread(media.write_poster, source, probed, folder)
        self._progress(asset, 0.5, hls_ready=True)
        if self._faults.stick_in == "processing":
            return
        await self._faults.on_demand.hold("processing")
        pause = self._config.hasten(self._config.mp4_after_hls_s) / 4
        for step in (0.6, 0.7, 0.8, 0.9):
            await asyncio.sleep(pause)
            self._progress(asset, step)
        mp4 = None
        if asset.static_mp4:
            target = folder / f"static{probed.height}p0.mp4"
            await asyncio.to_thread(media.write_mp4, source, probed.format, target)
            mp4 = media.mp4_facts(target, probed)
        if store.update(asset.id, expect="processing", phase="ready", progress=None, error=None, mp4=mp4):
            await asyncio.to_thread(source.unlink, True)

    def _progress(self, asset: Asset, progress: float, **values: object) -> None:
        if not self._store.update(asset.id, expect="processing", progress=progress, **values):
            raise media.UnplayableError("The asset was deleted meanwhile.")  # its phase stays as it is now


async def fetch(url: str, target: Path, most_bytes: int) -> None:
    """Copy the file at an address. This host fetches from the machine that it runs on and from nowhere else.

    Raises UnplayableError; the address is not repeated, since it may hold a token.
    """
    if not is_loopback(url):
        raise media.UnplayableError("The embedded host fetches from loopback addresses only; upload the file instead.")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise media.UnplayableError(f"The address answered {response.status} instead of a video.")
            with fresh_file(target) as draft, draft.open("wb") as file:
                async for piece in response.content.iter_chunked(64 * 1024):
                    if file.tell() + len(piece) > most_bytes:
                        raise media.UnplayableError("The video is larger than the host allows.")
                    file.write(piece)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise media.UnplayableError(f"The address cannot be fetched ({type(error).__name__}).") from None


def is_loopback(url: str) -> bool:
    """True where an address is on this machine; a name never counts, since it may lead anywhere."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
