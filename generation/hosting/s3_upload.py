"""The presigned upload: a video goes to an S3-compatible store by addresses that the holder of its key has signed.

The mp4 and its HLS stream go in parts. The store lists the parts that it has, so that an interrupted upload goes on.
The playlist goes last: without it the video is incomplete.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring

import httpx

from generation.hosting.hls import write_hls
from generation.hosting.host import HostBusy, HostError, HostRejected, HostUnreachable, UploadGone
from generation.hosting.http_errors import hide_addresses_in_logs, no_answer, retry_after
from generation.hosting.tus import Patience
from generation.hosting.upload_plan import PLAYLIST, STREAM, MultipartObject, SingleObject, UploadPlan
from migrations.files import sha256_stream

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_MOST_XML = 1024 * 1024
OnProgress = Callable[[int, int], Awaitable[None]]  # bytes that the store has, bytes in all


class _Retry(Exception):  # noqa: N818 - no error to anyone outside: the store is asked for its parts again
    """The attempt may have worked in part; `cause` is the caller's error when patience runs out."""

    def __init__(self, cause: HostError, after: float | None = None) -> None:
        super().__init__()
        self.cause, self.after = cause, after


async def upload(
    plan: Mapping[str, object],
    path: Path,
    *,
    client: httpx.AsyncClient,
    sha256: str | None = None,
    on_progress: OnProgress | None = None,
    patience: Patience | None = None,
) -> None:
    """Send the mp4, its HLS, and the poster beside it. `plan` comes from `S3Host.request_upload`.

    Raises UploadGone if the plan is no longer good (ask for a new one), HostRejected, HostUnreachable or HostBusy
    when patience ran out (call again with the same plan), OSError for the local files, ValueError for another plan.
    """
    hide_addresses_in_logs()
    objects = UploadPlan.from_json(plan)
    # Named after this very file: only a folder of an earlier attempt at it is removed.
    folder = path.with_name(f".hls-{path.stem}-{(sha256 or 'any')[:8]}")
    with path.open("rb") as file:
        if sha256 is not None and await asyncio.to_thread(sha256_stream, file) != sha256:
            raise OSError(f"The file {path.name} is another one than the one to upload.")
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            await asyncio.to_thread(write_hls, file, folder)
            sender = _Sender(client, patience or Patience(), objects.expires_at, on_progress)
            with (folder / STREAM).open("rb") as stream:
                sender.total = sum(each.seek(0, 2) for each in (file, stream))
                await sender.send_parts(objects.video, file)
                await sender.send_parts(objects.stream, stream)
            poster = path.with_suffix(".jpg")
            if poster.is_file():
                await sender.send_whole(objects.poster, poster.read_bytes())
            await sender.send_whole(objects.playlist, (folder / PLAYLIST).read_bytes())
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Sender:
    client: httpx.AsyncClient
    patience: Patience
    expires_at: int  # seconds since the epoch; after it, a 403 means that the addresses are no longer good
    on_progress: OnProgress | None
    total: int = 0
    sent_bytes: int = 0
    failures: int = 0  # in a row

    async def send_parts(self, target: MultipartObject, file: BufferedReader) -> None:
        """Send all parts that the store lacks, then have it put the object together."""
        size, part_bytes = file.seek(0, 2), target.part_bytes
        count = -(-size // part_bytes)
        if not size or count > len(target.part_urls):
            raise UploadGone("The upload was planned for a file of another size; it has to begin again.")
        base, progress = self.sent_bytes, -1

        async def attempt() -> None:
            nonlocal progress
            stored = await self._stored_parts(target.list_url)
            if stored is None:  # put together already, and the answer was lost; or forgotten
                if await self._size_of(target.head_url) != size:
                    raise UploadGone("The store no longer knows this upload; it has to begin again with a new ticket.")
                return
            tags: dict[int, str] = {}
            for number in range(1, count + 1):
                data = await asyncio.to_thread(_piece, file, (number - 1) * part_bytes, part_bytes)
                tag = hashlib.md5(data, usedforsecurity=False).hexdigest()
                if stored.get(number) == (tag, len(data)):
                    tags[number] = tag
                else:
                    tags[number] = await self._upload(target.part_urls[number - 1], data, {})
                self.sent_bytes = base + min(number * part_bytes, size)
                if number > progress:
                    progress = number
                    self.failures = 0  # a store that takes a little each time is slow, not broken
                if self.on_progress is not None:
                    await self.on_progress(self.sent_bytes, self.total)
            await self._complete(target.complete_url, tags)

        await self._with_retries(attempt)
        self.sent_bytes = base + size
        if self.on_progress is not None:
            await self.on_progress(self.sent_bytes, self.total)

    async def send_whole(self, target: SingleObject, data: bytes) -> None:
        """Send a small object; sent twice, it is still one."""

        async def attempt() -> None:
            await self._upload(target.url, data, target.headers)

        await self._with_retries(attempt)

    async def _with_retries(self, attempt: Callable[[], Awaitable[None]]) -> None:
        self.failures = 0
        while True:
            try:
                return await attempt()
            except _Retry as retry:
                self.failures += 1
                if self.failures >= self.patience.failures:
                    raise retry.cause from None
                await asyncio.sleep(max(self.patience.pause_s(self.failures), retry.after or 0.0))

    async def _stored_parts(self, url: str) -> dict[int, tuple[str, int]] | None:
        """Return the tags and sizes of the parts that the store has, by number; None if it knows no such upload."""
        response = await self._ask("GET", url, "tell how much of the upload it has")
        if response.status_code == 404 and _code(response) == "NoSuchUpload":
            return None
        self._check(response, "tell how much of the upload it has")
        parts = {}
        for part in _xml(response, "tell how much of the upload it has").iter():
            if _name(part.tag) == "Part":
                values = {_name(child.tag): (child.text or "").strip() for child in part}
                with suppress(KeyError, ValueError):
                    parts[int(values["PartNumber"])] = (values["ETag"].strip('"'), int(values["Size"]))
        return parts

    async def _size_of(self, url: str) -> int | None:
        response = await self._ask("HEAD", url, "show what it has")
        if response.status_code == 404:
            return None
        self._check(response, "show what it has")
        value = response.headers.get("content-length", "")
        return int(value) if value.isdigit() else None

    async def _upload(self, url: str, data: bytes, headers: Mapping[str, str]) -> str:
        """Send some bytes, and return the tag that the store gave them."""
        response = await self._ask("PUT", url, "take a part of the upload", data, headers)
        if response.status_code == 404 and _code(response) == "NoSuchUpload":
            raise _Retry(UploadGone("The store no longer knows this upload; it has to begin again with a new ticket."))
        self._check(response, "take a part of the upload")
        return str(response.headers.get("etag", "")).strip('"')

    async def _complete(self, url: str, tags: dict[int, str]) -> None:
        parts = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{tag}"</ETag></Part>' for number, tag in tags.items()
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        response = await self._ask("POST", url, "put the upload together", body)
        code = _code(response)
        if code in {"NoSuchUpload", "InvalidPart", "InternalError", "SlowDown"}:  # some of these have status 200
            raise _Retry(HostUnreachable("The store could not put the upload together yet."))
        self._check(response, "put the upload together")
        if code:
            raise HostRejected(f"The store refused to put the upload together ({code}).", status=response.status_code)

    async def _ask(
        self, method: str, url: str, doing: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        request = self.client.build_request(method, url, content=content, headers=headers, timeout=TIMEOUT)
        request.headers.pop("authorization", None)  # the address is enough; S3 refuses a second credential
        request.headers.pop("cookie", None)
        try:
            return await self.client.send(request, auth=None, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Retry(no_answer(error, doing)) from None

    def _check(self, response: httpx.Response, doing: str) -> None:
        status, code = response.status_code, _code(response)
        reason = f" ({code})" if code else ""
        if status < 300:
            return
        if status == 429 or code == "SlowDown":
            after = retry_after(response)
            raise _Retry(HostBusy(f"The store is busy and would not {doing}{reason}.", after), after)
        if status >= 500 or status == 408 or code == "RequestTimeout":
            raise _Retry(HostUnreachable(f"The store is out of order: {status} when asked to {doing}{reason}."))
        if status == 403 and self.expires_at and time.time() >= self.expires_at - 60:
            raise UploadGone("The addresses of this upload are too old; it has to begin again with a new ticket.")
        raise HostRejected(f"The store refused to {doing} ({status}){reason}.", status=status)


def _piece(file: BufferedReader, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length)
    if not data:
        raise OSError("The file became shorter while it was uploaded.")
    return data


def _xml(response: httpx.Response, doing: str) -> Element:
    """Return the body as XML. A body with a document type is rejected, so that there is no entity to expand."""
    if len(response.content) > _MOST_XML or b"<!DOCTYPE" in response.content or b"<!ENTITY" in response.content:
        raise _Retry(HostUnreachable(f"The store answered in a form that we do not know when asked to {doing}."))
    try:
        return fromstring(response.content)  # noqa: S314 - no entities, see above
    except ParseError:
        raise _Retry(
            HostUnreachable(f"The store answered with something other than XML when asked to {doing}.")
        ) from None


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _code(response: httpx.Response) -> str:
    """Return S3's code of an error, such as NoSuchUpload; empty if there is none."""
    match = re.search(rb"<Error>.*?<Code>([A-Za-z0-9.]{1,60})</Code>", response.content[:10_000], re.DOTALL)
    return match[1].decode() if match else ""
