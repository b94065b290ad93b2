"""An S3-compatible store as a video host: no player, no transcoding, only files that the store serves in public.

    {prefix}{asset}/video.mp4    the rendered file itself
    {prefix}{asset}/stream.mp4   the same video in fragments, for HLS
    {prefix}{asset}/index.m3u8   the playlist: it comes last and makes the video complete
    {prefix}{asset}/poster.jpg
    {prefix}{asset}/begun        empty, written first: it marks an upload that is under way

An asset's id begins with a hash of its name, by which `find_asset` looks for it, and ends at random: no file is ever
overwritten, so that everything may be cached for good. Needs boto3 (extra `s3`), which only signs and asks; the bytes
go from the worker to the store by addresses that are signed here (see `s3_upload`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from generation.hosting.host import (
    AssetMissing,
    HostBusy,
    HostedAsset,
    HostRejected,
    HostUnreachable,
    NotReady,
    OnPhase,
    Playback,
    Polling,
    UploadTicket,
)
from generation.hosting.http_errors import check_url, hide_addresses_in_logs, no_answer
from generation.hosting.upload_plan import (
    IN_PARTS,
    PLAYLIST,
    POSTER,
    STREAM,
    VIDEO,
    MultipartObject,
    SingleObject,
    UploadPlan,
)

T = TypeVar("T")

MARKER = "begun"  # of an upload that is under way
TYPES = {VIDEO: "video/mp4", STREAM: "video/mp4", PLAYLIST: "application/vnd.apple.mpegurl", POSTER: "image/jpeg"}
CACHE_FOREVER = "public, max-age=31536000, immutable"
LEAST_PART = 8 * 1024 * 1024  # S3 asks for at least 5 MiB, except for the last one
MOST_PARTS = 200
EXPIRES_S = 7 * 86_400  # the longest life of signatures of this kind
_ASSET = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")
_OUTAGES = {
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "RequestTimeout",
    "Throttling",
    "503",
    "500",
    "502",
    "504",
}


@dataclass(frozen=True)
class S3Settings:
    """The store's address and our key to it. `public_url` holds `{key}`; `endpoint` None is Amazon's own."""

    bucket: str
    public_url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    endpoint: str | None = None
    region: str = "us-east-1"
    prefix: str = "flock/"
    acl: str | None = None  # such as public-read, if the bucket's own policy does not say so
    path_style: bool = True
    watch_page: str | None = None  # holds `{playback_id}`


class S3Host:
    """A VideoHost on an S3-compatible store. Raises ValueError for unusable settings, ImportError without boto3."""

    shortest_s = 0.0

    def __init__(
        self, settings: S3Settings, *, polling: Polling | None = None, client: httpx.AsyncClient | None = None
    ) -> None:
        check_url(settings.public_url.replace("{key}", "x"), "The public address of videos")
        if "{key}" not in settings.public_url:
            raise ValueError("The public address of videos must contain {key}.")
        if settings.endpoint is not None:
            check_url(settings.endpoint, "The store's address")
        if not re.fullmatch(r"[A-Za-z0-9._/-]{0,200}", settings.prefix) or ".." in settings.prefix:
            raise ValueError("The prefix of keys has letters, digits, ., _, - and / only.")
        self._settings = settings
        self._polling = polling or Polling(first_s=0.5, longest_s=5.0, deadline_s=120.0)
        self._s3 = _client(settings)
        self._http = client or httpx.AsyncClient(timeout=httpx.Timeout(30.0, connect=10.0))
        self._owns_http = client is None
        hide_addresses_in_logs()

    def __repr__(self) -> str:
        return f"S3Host({self._settings.bucket!r})"

    async def aclose(self) -> None:
        """Close the connections, except those of the caller's client."""
        if self._owns_http:
            await self._http.aclose()
        await asyncio.to_thread(self._s3.close)

    async def check(self) -> None:
        """Check that the bucket exists and accepts our key; nothing is made."""
        await self._call("list its videos", lambda: self._list_keys(f"{self._settings.prefix}none-", most=1))

    async def request_upload(self, name: str, *, creator: str, size_bytes: int = 0) -> UploadTicket:
        """Sign addresses for a video of that many bytes. The store does not learn the name and the creator."""
        asset_id = f"{_hash(name)}-{secrets.token_hex(8)}"
        plan = await self._call("accept an upload", lambda: self._plan(asset_id, size_bytes))
        return UploadTicket(asset_id, asset_id, presigned=plan.to_json())

    async def find_asset(self, name: str) -> HostedAsset | None:
        """Return the newest asset of that name."""
        prefix = f"{self._settings.prefix}{_hash(name)}-"
        keys = await self._call("look for an asset", lambda: self._list_keys(prefix))
        newest: dict[str, float] = {}  # the time of each asset's newest file
        for key, time_s in keys.items():
            asset_id = key.removeprefix(self._settings.prefix).partition("/")[0]
            newest[asset_id] = max(time_s, newest.get(asset_id, 0.0))
        if not newest:
            return None
        return await self.asset(max(newest, key=lambda asset_id: newest[asset_id]))

    async def asset(self, asset_id: str) -> HostedAsset:
        """Return an asset: ready once it has its playlist, uploading before. Raises AssetMissing."""
        prefix = self._folder(asset_id)
        keys = await self._call("show an asset", lambda: self._list_keys(prefix))
        if prefix + PLAYLIST in keys:
            return HostedAsset(asset_id, asset_id, "ready", playback_id=asset_id)
        if not keys and not await self._call("show an asset", lambda: self._open_uploads(prefix)):
            raise AssetMissing("The store knows no such asset.", status=404)
        return HostedAsset(asset_id, asset_id, "uploading", playback_id=asset_id)

    async def playback(self, playback_id: str) -> Playback:
        """Return addresses by the operator's template. Raises NotReady."""
        prefix = self._folder(playback_id)
        keys = await self._call("play a video", lambda: self._list_keys(prefix))
        if prefix + PLAYLIST not in keys:
            raise NotReady("The video is not playable yet: it has no playlist.", "uploading")
        page = self._settings.watch_page
        return Playback(
            playback_id=playback_id,
            page_url=page.replace("{playback_id}", quote(playback_id, safe="")) if page else None,
            mp4_url=self._public(prefix + VIDEO),
            hls_url=self._public(prefix + PLAYLIST),
            poster_url=self._public(prefix + POSTER) if prefix + POSTER in keys else None,
        )

    async def wait_until_playable(
        self, asset_id: str, *, polling: Polling | None = None, on_phase: OnPhase | None = None
    ) -> Playback:
        """Wait until the video is complete and served in public. Raises AssetMissing, HostRejected, NotReady."""
        ask = polling or self._polling
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + ask.deadline_s, ask.first_s
        while True:
            try:
                asset = await self.asset(asset_id)
                if on_phase is not None:
                    await on_phase(asset)
                if asset.phase == "ready":
                    playback = await self.playback(asset_id)
                    await self._check_public(playback.mp4_url or "")
                    return playback
                problem = "its upload is not complete"
            except (HostUnreachable, HostBusy) as error:
                problem = str(error)
            if clock() + pause >= deadline:
                raise NotReady(f"Asset {asset_id} is not playable after {ask.deadline_s:.0f} s: {problem}", "uploading")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, ask.longest_s)

    def nudge(self, asset_id: str) -> None:
        """Do nothing: a store has no news of its own."""

    async def delete(self, asset_id: str) -> None:
        """Abort open uploads, then delete every file. A missing asset is deleted already."""
        prefix = self._folder(asset_id)
        await self._call("delete an asset", lambda: self._delete(prefix))

    async def views(self, playback_id: str) -> int | None:
        """Return None: a store counts no plays."""
        return None

    # ------------------------------------------------------------------ blocking calls, in a thread

    async def _call(self, doing: str, function: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await asyncio.to_thread(function)
        except ClientError as error:
            raise _error_of(error.response, doing) from None
        except BotoCoreError as error:  # its text may hold an address
            raise HostUnreachable(
                f"The store cannot be reached ({type(error).__name__}) when asked to {doing}. We try again later."
            ) from None

    def _plan(self, asset_id: str, size_bytes: int) -> UploadPlan:
        expires_at = time.time() + EXPIRES_S
        self._s3.put_object(Bucket=self._settings.bucket, Key=self._folder(asset_id) + MARKER, Body=b"")
        stream_bytes = size_bytes + size_bytes // 4 + 1024 * 1024  # fragments cost somewhat more, but hardly that much
        return UploadPlan(
            expires_at=int(expires_at),
            video=self._multipart_object(asset_id, VIDEO, size_bytes),
            stream=self._multipart_object(asset_id, STREAM, stream_bytes),
            poster=self._single_object(asset_id, POSTER),
            playlist=self._single_object(asset_id, PLAYLIST),
        )

    def _multipart_object(self, asset_id: str, name: str, most_bytes: int) -> MultipartObject:
        part_bytes = max(LEAST_PART, -(-most_bytes // MOST_PARTS))
        place = {"Bucket": self._settings.bucket, "Key": self._folder(asset_id) + name}
        answer = self._s3.create_multipart_upload(**place, **self._metadata(name))
        upload = {**place, "UploadId": answer["UploadId"]}
        count = max(1, -(-most_bytes // part_bytes))
        return MultipartObject(
            name=name,
            part_bytes=part_bytes,
            list_url=self._presign("list_parts", upload),
            complete_url=self._presign("complete_multipart_upload", upload),
            head_url=self._presign("head_object", place),
            part_urls=tuple(self._presign("upload_part", {**upload, "PartNumber": n}) for n in range(1, count + 1)),
        )

    def _single_object(self, asset_id: str, name: str) -> SingleObject:
        metadata = self._metadata(name)
        headers = {"Content-Type": metadata["ContentType"], "Cache-Control": metadata["CacheControl"]}
        if "ACL" in metadata:
            headers["x-amz-acl"] = metadata["ACL"]
        place = {"Bucket": self._settings.bucket, "Key": self._folder(asset_id) + name, **metadata}
        return SingleObject(name, self._presign("put_object", place), headers)

    def _metadata(self, name: str) -> dict[str, str]:
        acl = {"ACL": self._settings.acl} if self._settings.acl else {}
        return {"ContentType": TYPES[name], "CacheControl": CACHE_FOREVER, **acl}

    def _presign(self, operation: str, parameters: Mapping[str, object]) -> str:
        return str(self._s3.generate_presigned_url(operation, Params=parameters, ExpiresIn=EXPIRES_S))

    def _list_keys(self, prefix: str, most: int = 1000) -> dict[str, float]:
        """Return the keys that begin with a prefix, with their times."""
        answer = self._s3.list_objects_v2(Bucket=self._settings.bucket, Prefix=prefix, MaxKeys=most)
        return {each["Key"]: each["LastModified"].timestamp() for each in answer.get("Contents", [])}

    def _open_uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Return an asset's multipart uploads that are not completed: key and id.

        The question has the whole key: some stores, such as MinIO, list no uploads by a prefix.
        """
        uploads = []
        for key in (prefix + name for name in IN_PARTS):
            answer = self._s3.list_multipart_uploads(Bucket=self._settings.bucket, Prefix=key)
            uploads += [(key, u["UploadId"]) for u in answer.get("Uploads", []) if u["Key"] == key]
        return uploads

    def _delete(self, prefix: str) -> None:
        for key, upload_id in self._open_uploads(prefix):
            self._s3.abort_multipart_upload(Bucket=self._settings.bucket, Key=key, UploadId=upload_id)
        # The playlist first: without it the video is incomplete, whatever happens next.
        for key in sorted(self._list_keys(prefix), key=lambda key: not key.endswith(PLAYLIST)):
            self._s3.delete_object(Bucket=self._settings.bucket, Key=key)

    # ------------------------------------------------------------------ pieces

    def _folder(self, asset_id: str) -> str:
        if not _ASSET.fullmatch(asset_id):
            raise ValueError("An id of this video host is two times 16 hex digits.")
        return f"{self._settings.prefix}{asset_id}/"

    def _public(self, key: str) -> str:
        return self._settings.public_url.replace("{key}", quote(key, safe="/"))

    async def _check_public(self, url: str) -> None:
        """Check that a client without a key gets the video. Raises HostUnreachable or HostRejected."""
        try:
            async with self._http.stream("GET", url, headers={"Range": "bytes=0-11"}, auth=None) as response:
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise no_answer(error, "serve a video") from None
        if status >= 500 or status == 429:
            raise HostUnreachable(f"The public address of videos is out of order: it answered {status}.")
        if status not in {200, 206}:
            raise HostRejected(
                f"The public address of videos answered {status}. Check FLOCK_S3_PUBLIC_URL, and that the bucket lets "
                "everybody read.",
                status=status,
            )


def _client(settings: S3Settings) -> Any:  # boto3 makes its clients at run time
    import boto3
    from botocore.config import Config

    logging.getLogger("botocore").setLevel(logging.INFO)  # below, it logs what it signs
    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        config=Config(
            signature_version="s3v4",
            connect_timeout=10,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 3},
            s3={"addressing_style": "path" if settings.path_style else "virtual"},
            # Stores other than Amazon's do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _error_of(response: Mapping[str, Mapping[str, object]], doing: str) -> HostRejected | HostUnreachable | HostBusy:
    code = re.sub(r"[^A-Za-z0-9.]", "", str(response.get("Error", {}).get("Code", "")))[:60]
    status = int(str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)))
    if status == 429 or code == "SlowDown":
        return HostBusy(f"The store is busy and would not {doing} ({code}).")
    if status >= 500 or code in _OUTAGES:
        return HostUnreachable(f"The store is out of order: {status} when asked to {doing} ({code}).")
    hint = " Check its key, secret, bucket and region." if status in {301, 400, 401, 403, 404} else ""
    return HostRejected(f"The store refused to {doing} ({status} {code}).{hint}", status=status)
