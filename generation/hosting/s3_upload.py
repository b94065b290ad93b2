"""Sends a video to an S3-compatible store by addresses that the holder of its key has signed: we need none.

The mp4 and its HLS stream go in parts; what parts the store has already, it says, so an upload that was cut goes on.
The playlist goes last: while it is missing, the video is not there.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError, fromstring

import httpx

from generation.hosting.hls import PLAYLIST, STREAM, write_hls
from generation.hosting.host import HostBusy, HostError, HostRejected, HostUnreachable, UploadGone
from generation.hosting.http_errors import check_url, hide_addresses_in_logs, no_answer, retry_after
from generation.hosting.tus import Patience
from migrations.files import sha256_stream

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
VIDEO, POSTER = "video.mp4", "poster.jpg"
_MOST_XML = 1024 * 1024
OnProgress = Callable[[int, int], Awaitable[None]]  # bytes that the store has, bytes in all


class _Again(Exception):  # noqa: N818 - no error to anyone outside: the store is asked what it has
    def __init__(self, cause: HostError, after: float | None = None) -> None:
        super().__init__()
        self.cause, self.after = cause, after


async def upload(
    plan: dict[str, Any],
    path: Path,
    *,
    client: httpx.AsyncClient,
    sha256: str | None = None,
    on_progress: OnProgress | None = None,
    patience: Patience | None = None,
) -> None:
    """Sends the mp4, its HLS, and the poster beside it. `plan` comes from `S3Host.request_upload`.

    Raises UploadGone where the plan is no longer good (ask for a new one), HostRejected, HostUnreachable or HostBusy
    when patience ran out (call again with the same plan), OSError for the local files, ValueError for another plan.
    """
    hide_addresses_in_logs()
    objects = _objects(plan)
    folder = path.with_name(f".hls-{path.stem}-{(sha256 or 'any')[:8]}")  # one of an earlier attempt is in nobody's way
    with path.open("rb") as file:
        if sha256 is not None and await asyncio.to_thread(sha256_stream, file) != sha256:
            raise OSError(f"The file {path.name} is another one than the one to upload.")
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            await asyncio.to_thread(write_hls, file, folder)
            sender = _Sender(client, patience or Patience(), float(plan.get("expires_at", 0)), on_progress)
            with (folder / STREAM).open("rb") as stream:
                sender.total = sum(each.seek(0, 2) for each in (file, stream))
                await sender.in_parts(objects[VIDEO], file)
                await sender.in_parts(objects[STREAM], stream)
            poster = path.with_suffix(".jpg")
            if poster.is_file():
                await sender.at_once(objects[POSTER], poster.read_bytes())
            await sender.at_once(objects[PLAYLIST], (folder / PLAYLIST).read_bytes())
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _objects(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The plan's objects by name. Raises ValueError."""
    try:
        objects = {str(each["name"]): dict(each) for each in plan["objects"]}
        for name in (VIDEO, STREAM):
            wanted = objects[name]
            urls = [wanted["list"], wanted["complete"], wanted["head"], *wanted["parts"]]
            if int(wanted["part_bytes"]) < 1 or not wanted["parts"]:
                raise ValueError
            for url in urls:
                check_url(str(url), "The upload's address")
        for name in (POSTER, PLAYLIST):
            check_url(str(objects[name]["url"]), "The upload's address")
    except (KeyError, TypeError, ValueError):
        raise ValueError("The plan of the upload cannot be read; it may be of another release than the bot.") from None
    return objects


@dataclass
class _Sender:
    client: httpx.AsyncClient
    patience: Patience
    expires_at: float  # seconds since the epoch; after it, a 403 means that the addresses are no longer good
    on_progress: OnProgress | None
    total: int = 0
    sent: int = 0

    async def in_parts(self, wanted: dict[str, Any], file: BinaryIO) -> None:
        """All parts that the store does not have yet, and then the object of them."""
        size, part_bytes = file.seek(0, 2), int(wanted["part_bytes"])
        count = -(-size // part_bytes)
        if not size or count > len(wanted["parts"]):
            raise UploadGone("The upload was planned for a file of another size; it has to begin again.")
        base, progress = self.sent, -1

        async def attempt() -> None:
            nonlocal progress
            have = await self._parts_there(wanted["list"])
            if have is None:  # put together already, and the answer was lost; or forgotten
                if await self._size_of(wanted["head"]) != size:
                    raise UploadGone("The store no longer knows this upload; it has to begin again with a new ticket.")
                return
            tags: dict[int, str] = {}
            for number in range(1, count + 1):
                data = await asyncio.to_thread(_piece, file, (number - 1) * part_bytes, part_bytes)
                tag = hashlib.md5(data, usedforsecurity=False).hexdigest()
                if have.get(number) == (tag, len(data)):
                    tags[number] = tag
                else:
                    tags[number] = await self._put(wanted["parts"][number - 1], data, {})
                self.sent = base + min(number * part_bytes, size)
                if number > progress:
                    progress = number
                    self._failures = 0  # a store that takes a little each time is slow, not broken
                if self.on_progress is not None:
                    await self.on_progress(self.sent, self.total)
            await self._complete(wanted["complete"], tags)

        await self._patiently(attempt)
        self.sent = base + size
        if self.on_progress is not None:
            await self.on_progress(self.sent, self.total)

    async def at_once(self, wanted: dict[str, Any], data: bytes) -> None:
        """A small object; sending it twice leaves one."""
        headers = {str(name): str(value) for name, value in dict(wanted.get("headers") or {}).items()}

        async def attempt() -> None:
            await self._put(wanted["url"], data, headers)

        await self._patiently(attempt)

    _failures = 0

    async def _patiently(self, attempt: Callable[[], Awaitable[None]]) -> None:
        self._failures = 0
        while True:
            try:
                return await attempt()
            except _Again as again:
                self._failures += 1
                if self._failures >= self.patience.failures:
                    raise again.cause from None
                await asyncio.sleep(max(self.patience.pause_s(self._failures), again.after or 0.0))

    async def _parts_there(self, url: str) -> dict[int, tuple[str, int]] | None:
        """The parts that the store has, by number: their tags and sizes. None where it knows no such upload."""
        response = await self._ask("GET", url, "tell how much of the upload it has")
        if response.status_code == 404 and _code(response) == "NoSuchUpload":
            return None
        self._check(response, "tell how much of the upload it has")
        found = {}
        for part in _xml(response, "tell how much of the upload it has").iter():
            if _name(part.tag) == "Part":
                values = {_name(child.tag): (child.text or "").strip() for child in part}
                with suppress(KeyError, ValueError):
                    found[int(values["PartNumber"])] = (values["ETag"].strip('"'), int(values["Size"]))
        return found

    async def _size_of(self, url: str) -> int | None:
        response = await self._ask("HEAD", url, "show what it has")
        if response.status_code == 404:
            return None
        self._check(response, "show what it has")
        value = response.headers.get("content-length", "")
        return int(value) if value.isdigit() else None

    async def _put(self, url: str, data: bytes, headers: dict[str, str]) -> str:
        """The tag that the store gave what it took."""
        response = await self._ask("PUT", url, "take a part of the upload", data, headers)
        if response.status_code == 404 and _code(response) == "NoSuchUpload":
            raise _Again(UploadGone("The store no longer knows this upload; it has to begin again with a new ticket."))
        self._check(response, "take a part of the upload")
        return str(response.headers.get("etag", "")).strip('"')

    async def _complete(self, url: str, tags: dict[int, str]) -> None:
        parts = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{tag}"</ETag></Part>' for number, tag in tags.items()
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        response = await self._ask("POST", url, "put the upload together", body)
        code = _code(response)
        if code in {"NoSuchUpload", "InvalidPart", "InternalError", "SlowDown"}:  # S3 says some of it with a 200
            raise _Again(HostUnreachable("The store could not put the upload together yet."))
        self._check(response, "put the upload together")
        if code:
            raise HostRejected(f"The store refused to put the upload together ({code}).", status=response.status_code)

    async def _ask(
        self, method: str, url: str, doing: str, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        request = self.client.build_request(method, url, content=content, headers=headers, timeout=TIMEOUT)
        request.headers.pop("authorization", None)  # the address suffices; a second credential is refused
        request.headers.pop("cookie", None)
        try:
            return await self.client.send(request, auth=None, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Again(no_answer(error, doing)) from None

    def _check(self, response: httpx.Response, doing: str) -> None:
        status, code = response.status_code, _code(response)
        said = f" ({code})" if code else ""
        if status < 300:
            return
        if status == 429 or code == "SlowDown":
            after = retry_after(response)
            raise _Again(HostBusy(f"The store is busy and would not {doing}{said}.", after), after)
        if status >= 500 or status == 408 or code == "RequestTimeout":
            raise _Again(HostUnreachable(f"The store is out of order: {status} when asked to {doing}{said}."))
        if status == 403 and self.expires_at and time.time() >= self.expires_at - 60:
            raise UploadGone("The addresses of this upload are too old; it has to begin again with a new ticket.")
        raise HostRejected(f"The store refused to {doing} ({status}){said}.", status=status)


def _piece(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length)
    if not data:
        raise OSError("The file became shorter while it was uploaded.")
    return data


def _xml(response: httpx.Response, doing: str) -> Any:
    """The body as XML. Without a document type there is nothing in it that could be expanded."""
    if len(response.content) > _MOST_XML or b"<!DOCTYPE" in response.content or b"<!ENTITY" in response.content:
        raise _Again(HostUnreachable(f"The store answered in a form that we do not know when asked to {doing}."))
    try:
        return fromstring(response.content)  # noqa: S314 - no entities, see above
    except ParseError:
        raise _Again(
            HostUnreachable(f"The store answered with something other than XML when asked to {doing}.")
        ) from None


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _code(response: httpx.Response) -> str:
    """S3's word for an error, such as NoSuchUpload; empty where there is none."""
    found = re.search(rb"<Error>.*?<Code>([A-Za-z0-9.]{1,60})</Code>", response.content[:10_000], re.DOTALL)
    return found[1].decode() if found else ""
