"""The resumable upload by TUS 1.0.0 (https://tus.io/protocols/resumable-upload), from a process without any key.

The address that the host gives for an upload is a secret of its own. `on_url` gets it before the first byte is sent,
so that a process that dies can go on where it was; it is never logged and never part of an error.
"""

from __future__ import annotations

import asyncio
import random
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from generation.hosting.guarded import FORBIDDEN, NO_ANSWER, bounded
from generation.hosting.host import AlreadyUploaded, HostBusy, HostError, HostRejected, HostUnreachable, UploadGone
from generation.hosting.http_errors import check_url, error_of, hide_addresses_in_logs, no_answer
from generation.hosting.reach import ForbiddenAddressError
from migrations.files import sha256_stream

CHUNK_BYTES = 8 * 1024 * 1024  # Livepeer stores uploads in parts of this size
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
TOTAL_S = 1800.0  # for one part with its answer, also by a slow line
_VERSION = {"Tus-Resumable": "1.0.0"}
_HOPS = 3

OnUrl = Callable[[str], Awaitable[None]]
OnProgress = Callable[[int, int], Awaitable[None]]  # bytes that the host has, bytes in all


@dataclass(frozen=True)
class Patience:
    """The limit of failures in a row without a byte of progress, and the pauses between them, in seconds."""

    failures: int = 10
    first_s: float = 0.5
    longest_s: float = 10.0

    def pause_s(self, failure: int) -> float:
        """Return the pause after so many failures: it doubles, with some jitter."""
        return min(self.first_s * 2.0 ** (failure - 1), self.longest_s) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


class _Retry(Exception):  # noqa: N818 - no error to anyone outside: the loop asks the host for its offset
    """The attempt may have worked in part; `cause` is the caller's error when patience runs out."""

    def __init__(self, cause: HostError) -> None:
        super().__init__()
        self.cause = cause


async def upload(
    tus_endpoint: str,
    path: Path,
    *,
    client: httpx.AsyncClient,
    on_url: OnUrl,
    resume_url: str | None = None,
    sha256: str | None = None,
    on_progress: OnProgress | None = None,
    chunk: int = CHUNK_BYTES,
    patience: Patience | None = None,
) -> str:
    """Send a file and return its upload's address. With `resume_url` (from `on_url`), go on where the host's bytes end.

    With `sha256` (hex) the opened file is compared first: another file that has taken over its name is never sent, and
    one that takes it over later is not the opened one.

    Raises UploadGone when the host no longer knows the upload (ask for a new ticket), AlreadyUploaded when the
    asset has its bytes, HostRejected, HostUnreachable or HostBusy when patience ran out (call again with the
    same address), OSError for the local file, ValueError for addresses that are not http or https.
    """
    check_url(tus_endpoint, "The upload's endpoint")
    hide_addresses_in_logs()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            raise OSError(f"The file {path.name} is empty, so there is nothing to upload.")
        if sha256 is not None and await asyncio.to_thread(sha256_stream, file) != sha256:
            raise OSError(f"The file {path.name} is another one than the one to upload.")
        sender = _Sender(client, file, size, chunk, patience or Patience(), on_progress)
        if resume_url is None:
            resume_url = await sender.create(tus_endpoint, path.name)
            await on_url(resume_url)
            await sender.send(resume_url, 0)
        else:
            check_url(resume_url, "The upload's address")
            await sender.send(resume_url, None)
    return resume_url


@dataclass
class _Sender:
    client: httpx.AsyncClient
    file: BinaryIO
    size: int
    chunk: int
    patience: Patience
    on_progress: OnProgress | None

    async def create(self, endpoint: str, name: str) -> str:
        """Send POST. A repetition makes a second, empty upload of the same asset, which does no harm."""
        metadata = f"filename {b64encode(name.encode()).decode()},filetype {b64encode(b'video/mp4').decode()}"
        headers = {"Upload-Length": str(self.size), "Upload-Metadata": metadata}
        failures = 0
        while True:
            try:
                response = await self._ask("POST", endpoint, "begin an upload", headers)
                if response.status_code != 201:
                    raise self._error_of(response, "begin an upload")
                return self._location(response, endpoint)
            except _Retry as retry:
                failures += 1
                await self._pause(failures, retry)

    async def send(self, url: str, offset: int | None) -> None:
        """Send PATCH after PATCH; after one of unknown outcome, HEAD returns the bytes that the host really has."""
        failures = most_bytes = 0
        while True:
            try:
                if offset is None:
                    offset = await self._offset(url)
                if offset > most_bytes:  # a host that takes a little each time is slow, not broken
                    failures, most_bytes = 0, offset
                await self._report(offset)
                if offset >= self.size:
                    return
                offset = await self._patch(url, offset)
            except _Retry as retry:
                failures += 1
                await self._pause(failures, retry)
                offset = None

    async def _offset(self, url: str) -> int:
        response = await self._ask("HEAD", url, "tell how much of the upload it has", {})
        if response.status_code not in {200, 204}:
            raise self._error_of(response, "tell how much of the upload it has")
        length = response.headers.get("upload-length")
        if length is not None and length != str(self.size):
            raise UploadGone("The upload at the video host belongs to a file of another size; it has to begin again.")
        return self._stored_bytes(response)

    async def _patch(self, url: str, offset: int) -> int:
        data = await asyncio.to_thread(self._read_piece, offset)
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        response = await self._ask("PATCH", url, "take a part of the upload", headers, data)
        if response.status_code not in {200, 204}:
            raise self._error_of(response, "take a part of the upload")
        after = self._stored_bytes(response)
        if after <= offset:
            raise _Retry(HostUnreachable("The video host took none of the bytes that it was sent."))
        return after

    def _read_piece(self, offset: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(min(self.chunk, self.size - offset))
        if not data:
            raise OSError("The file became shorter while it was uploaded.")
        return data

    async def _ask(
        self, method: str, url: str, doing: str, headers: dict[str, str], content: bytes | None = None
    ) -> httpx.Response:
        for _ in range(_HOPS + 1):
            try:
                request = self.client.build_request(
                    method, url, headers={**_VERSION, **headers}, content=content, timeout=TIMEOUT
                )
                # This host must not see what the client carries for others: the address is enough.
                request.headers.pop("authorization", None)
                request.headers.pop("cookie", None)
                async with asyncio.timeout(TOTAL_S):
                    answer = await self.client.send(request, auth=None, follow_redirects=False, stream=True)
                    try:
                        response = await bounded(answer)
                    finally:
                        await answer.aclose()
            except ForbiddenAddressError as error:
                raise HostRejected(str(error), status=NO_ANSWER) from None
            except TimeoutError:
                raise _Retry(no_answer(httpx.ReadTimeout("The whole answer took too long."), doing)) from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _Retry(no_answer(error, doing)) from None
            if response.status_code not in {307, 308} or "location" not in response.headers:
                return response
            target = self._location(response, url)
            if httpx.URL(target).host != httpx.URL(url).host:
                raise HostRejected(FORBIDDEN, status=response.status_code)
            url = target
        raise HostRejected(f"The video host sent us in circles when asked to {doing}.", status=response.status_code)

    @staticmethod
    def _location(response: httpx.Response, base: str) -> str:
        """Return the absolute address in Location: a step down from https is not accepted.

        TUS lets another host keep an upload; that it is none in our network, the client sees when it connects.
        """
        try:
            target = check_url(str(httpx.URL(base).join(response.headers["location"])), "The upload's address")
        except (KeyError, ValueError, httpx.InvalidURL):
            target = ""
        if not target or (base.startswith("https:") and not target.startswith("https:")):
            raise HostRejected(
                "The video host named no usable address for the upload.", status=response.status_code
            ) from None
        return target

    def _stored_bytes(self, response: httpx.Response) -> int:
        value = response.headers.get("upload-offset", "")
        if not value.isascii() or not value.isdigit() or int(value) > self.size:
            raise _Retry(HostUnreachable("The video host did not tell how much of the upload it has."))
        return int(value)

    @staticmethod
    def _error_of(response: httpx.Response, doing: str) -> HostError | _Retry:
        status = response.status_code
        error = error_of(response, doing)
        if status in {404, 410}:
            return UploadGone("The video host no longer knows this upload; it has to begin again with a new ticket.")
        if status == 422 and "already been uploaded" in str(error):
            return AlreadyUploaded(str(error), status=status, sentences=getattr(error, "sentences", ()))
        if status in {409, 423} or error.retryable:
            if status in {409, 423}:
                error = HostUnreachable("The video host is still busy with an earlier part of this upload.")
            return _Retry(error)
        return error

    async def _pause(self, failures: int, retry: _Retry) -> None:
        if failures >= self.patience.failures:
            raise retry.cause from None
        pause = self.patience.pause_s(failures)
        if isinstance(retry.cause, HostBusy) and retry.cause.retry_after is not None:
            pause = max(pause, retry.cause.retry_after)
        await asyncio.sleep(pause)

    async def _report(self, offset: int) -> None:
        if self.on_progress is not None:
            await self.on_progress(offset, self.size)
