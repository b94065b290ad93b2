"""The routes that take bytes: TUS 1.0.0 as @tus/server speaks it, and the one-shot direct upload.

The upload token is the credential.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
from typing import IO

from aiohttp import StreamReader, web
from aiohttp.client_exceptions import ClientError

from bot.demo.host.config import Faults, HostConfig
from bot.demo.host.phases import Phases
from bot.demo.host.refusals import Refused
from bot.demo.host.store import Asset, Store, fresh_file

_TUS = {"Tus-Resumable": "1.0.0"}
_PIECE = 256 * 1024


def upload_token(secret: bytes, playback_id: str) -> str:
    """Return a JWT (HS256) that does not expire, as Livepeer's: it stands for the upload of one asset."""
    head = _b64(b'{"alg":"HS256","typ":"JWT"}') + "." + _b64(json.dumps({"playbackId": playback_id}).encode())
    return head + "." + _b64(hmac.digest(secret, head.encode(), "sha256"))


def playback_id_of(secret: bytes, token: str) -> str:
    """Return the playback id for which a token stands. Raises Refused where it is missing or not ours."""
    if not token:
        raise Refused(401, "Missing uploadToken metadata from /request-upload API")
    head, _, signature = token.rpartition(".")
    expected = _b64(hmac.digest(secret, head.encode("utf-8", "surrogateescape"), hashlib.sha256))
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape")):
        raise Refused(403, "Invalid signed upload URL: JsonWebTokenError: invalid signature")
    payload = head.partition(".")[2]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["playbackId"])


class Uploads:
    """TUS: POST makes an upload, HEAD tells its offset, PATCH appends. A part file's size is the offset."""

    def __init__(self, store: Store, phases: Phases, config: HostConfig, faults: Faults) -> None:
        self._store = store
        self._phases = phases
        self._config = config
        self._faults = faults
        self._writers: dict[str, asyncio.Task[int]] = {}
        self._sticking: set[asyncio.Task[None]] = set()
        self.public_url = ""

    def routes(self) -> list[web.RouteDef]:
        tus, upload = "/api/asset/upload/tus", "/api/asset/upload/tus/{upload:.+}"
        return [
            web.post(tus, self.create),
            web.options(tus, self.options),
            web.head(upload, self.head),
            web.patch(upload, self.patch),
            web.post(upload, self.override),
            web.options(upload, self.options),
            web.put("/api/asset/upload/direct", self.direct),
        ]

    async def options(self, _: web.Request) -> web.Response:
        headers = {"Tus-Version": "1.0.0", "Tus-Extension": "creation"}
        headers["Tus-Max-Size"] = str(self._config.max_upload_bytes)
        return web.Response(status=204, headers=_TUS | headers)

    async def create(self, request: web.Request) -> web.Response:
        asset = self._pending(playback_id_of(self._store.secret, request.query.get("token", "")))
        _check_version(request)
        length = _whole(request.headers.get("Upload-Length", ""))
        if length is None:
            raise Refused(400, "Upload-Length or Upload-Defer-Length header required")
        if length > self._config.max_upload_bytes:
            raise Refused(413, "Maximum size exceeded")
        _check_metadata(request.headers.get("Upload-Metadata", ""))
        if asset.upload_id:  # the latest address is the one that counts
            await self._stop_writer(asset.upload_id)
            self._store.part(asset.upload_id).unlink(missing_ok=True)
        upload_id = f"{asset.playback_id}-{secrets.token_urlsafe(24)}"
        with fresh_file(self._store.part(upload_id)) as draft:
            draft.touch(mode=0o600)
        if not self._store.update(asset.id, expect="uploading", upload_id=upload_id, upload_length=length):
            raise Refused(422, "asset has already been uploaded")
        if length == 0:
            self._complete(self._store.get(asset.id))
        location = f"{self.public_url}/api/asset/upload/tus/{upload_id}"
        return web.Response(status=201, headers={**_TUS, "Location": location})

    async def head(self, request: web.Request) -> web.Response:
        asset = self._upload(request)
        _check_version(request)
        await self._stop_writer(
            asset.upload_id or ""
        )  # a connection that died on the way must not keep this request waiting
        headers = {"Upload-Offset": str(self._offset(asset)), "Upload-Length": str(asset.upload_length)}
        return web.Response(headers={**_TUS, **headers, "Cache-Control": "no-store"})

    async def override(self, request: web.Request) -> web.Response:
        if request.headers.get("X-HTTP-Method-Override", "").upper() != "PATCH":
            raise Refused(404, "Not found")
        return await self.patch(request)

    async def patch(self, request: web.Request) -> web.Response:
        asset = self._upload(request)
        _check_version(request)
        if request.content_type != "application/offset+octet-stream":
            raise Refused(415, "Content-Type must be application/offset+octet-stream")
        claimed = _whole(request.headers.get("Upload-Offset", ""))
        if claimed is None:
            raise Refused(400, "Upload-Offset header required")
        upload_id = asset.upload_id or ""
        await self._stop_writer(upload_id)
        asset = self._upload(request)  # it may be complete by now
        if asset.phase != "uploading":
            raise Refused(422, "asset has already been uploaded")
        if claimed != self._offset(asset):
            raise Refused(409, "Upload-Offset does not match the upload's offset")
        writer = asyncio.create_task(self._append(asset, request))
        self._writers[upload_id] = writer
        try:
            offset = await asyncio.shield(writer)
        except asyncio.CancelledError:
            if not writer.cancelled():  # this request is cancelled, not its writer
                writer.cancel()
                raise
            raise Refused(423, "the upload was taken over by another request") from None
        finally:
            if self._writers.get(upload_id) is writer:
                del self._writers[upload_id]
        if offset == asset.upload_length and self._faults.stick_in != "uploading":
            self._complete_or_stick(asset)
        return web.Response(status=204, headers={**_TUS, "Upload-Offset": str(offset)})

    async def direct(self, request: web.Request) -> web.Response:
        token = request.query.get("token", "")
        asset = self._pending(playback_id_of(self._store.secret, token))
        with fresh_file(self._store.part(f"{asset.playback_id}-direct")) as draft:
            with draft.open("xb") as file:
                while piece := await self._read(request.content):
                    if file.tell() + len(piece) > self._config.max_upload_bytes:
                        raise Refused(413, "Maximum size exceeded")
                    await asyncio.to_thread(file.write, piece)
            if request.content_length is not None and draft.stat().st_size != request.content_length:
                raise Refused(400, "the request ended before its body did")
        part = self._store.part(f"{asset.playback_id}-direct")
        if not self._store.complete_upload(asset, part):
            raise Refused(422, "asset has already been uploaded")
        self._phases.take(asset.id)
        return web.Response(status=200)

    async def close(self) -> None:
        for upload_id in list(self._writers):
            await self._stop_writer(upload_id)
        for task in self._sticking:
            task.cancel()
        await asyncio.gather(*self._sticking, return_exceptions=True)

    async def _append(self, asset: Asset, request: web.Request) -> int:
        """Keep the bytes that arrive, even if the connection breaks: the next HEAD tells how many they were."""
        length = asset.upload_length or 0
        received = 0
        with self._store.part(asset.upload_id or "").open("ab") as file:
            try:
                while piece := await self._read(request.content):
                    if file.tell() + len(piece) > length:
                        raise Refused(413, "the upload is longer than it said")
                    file.write(piece)  # to the page cache: fast, and it survives a kill of this process
                    received += len(piece)
                    limit = self._faults.cut_upload_after
                    if (limit is not None and received >= limit) or self._faults.on_demand.cuts_upload(received):
                        self._faults.cut_upload_after = None
                        if request.transport is not None:
                            request.transport.abort()
                        if file.tell() < length:
                            raise ConnectionResetError
            finally:
                file.flush()
                os.fsync(file.fileno())
            return file.tell()

    async def _read(self, content: StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._config.upload_idle_s):
                return await content.read(_PIECE)
        except TimeoutError:
            raise Refused(408, "nothing arrived for too long") from None
        except ClientError as error:
            raise ConnectionResetError from error

    async def _stop_writer(self, upload_id: str) -> None:
        if writer := self._writers.get(upload_id):
            writer.cancel()
            await asyncio.wait([writer])

    def _complete_or_stick(self, asset: Asset) -> None:
        """Complete an upload, unless it is to stick for a while."""
        rule = self._faults.on_demand.sticks("uploading")
        if rule is None:
            self._complete(asset)
            return

        async def complete_later() -> None:
            await rule.hold(rule.seconds)
            now = self._store.get(asset.id)
            if (now.phase, now.upload_id) == ("uploading", asset.upload_id):
                self._complete(now)

        task = asyncio.create_task(complete_later(), name="upload that sticks")
        self._sticking.add(task)
        task.add_done_callback(self._sticking.discard)

    def _complete(self, asset: Asset) -> None:
        if self._store.complete_upload(asset, self._store.part(asset.upload_id or "")):
            self._phases.take(asset.id)

    def _offset(self, asset: Asset) -> int:
        if asset.phase != "uploading":
            return asset.upload_length or 0
        return _size(self._store.part(asset.upload_id or "").open("rb"))

    def _pending(self, playback_id: str) -> Asset:
        try:
            asset = self._store.by_playback_id(playback_id)
        except KeyError:
            raise Refused(404, "asset not found") from None
        if asset.is_gone:
            raise Refused(404, "asset not found")
        if asset.phase != "uploading":
            raise Refused(422, "asset has already been uploaded")
        return asset

    def _upload(self, request: web.Request) -> Asset:
        try:
            asset = self._store.by_upload_id(request.match_info["upload"])
        except KeyError:
            raise Refused(404, "The file for this url was not found") from None
        if asset.is_gone:
            raise Refused(410, "The file for this url no longer exists")
        return asset


def _size(file: IO[bytes]) -> int:
    with file:
        return os.fstat(file.fileno()).st_size


def _check_version(request: web.Request) -> None:
    if request.headers.get("Tus-Resumable") != "1.0.0":
        raise Refused(412, "Tus-Resumable Required")


def _check_metadata(header: str) -> None:
    """Check `name base64, name base64`. The values are not used, yet what is malformed is refused."""
    for pair in filter(None, (p.strip() for p in header.split(","))):
        name, _, value = pair.partition(" ")
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            name = ""
        if not name:
            raise Refused(400, "Upload-Metadata is invalid. It MUST consist of one or more comma-separated pairs")


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
