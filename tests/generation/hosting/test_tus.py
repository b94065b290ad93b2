"""Uploads that survive: killed servers, killed clients, broken connections, and addresses that must not leak."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.host import EmbeddedHost, Fault, Faults
from bot.demo.host.__main__ import KEY_VARIABLE
from generation.hosting.host import AlreadyUploaded, HostRejected, HostUnreachable, UploadGone
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import Patience, upload
from tests.builders.hosts import HostProcess


@pytest.fixture
def process(tmp_path: Path, key: str) -> Iterator[HostProcess]:
    host = HostProcess(tmp_path / "host", key)
    host.start()
    yield host
    if host.process is not None and host.process.poll() is None:
        host.kill()


async def test_an_upload_goes_on_when_the_host_is_killed_and_started_again(
    process: HostProcess, http: httpx.AsyncClient, big_video: Path, key: str, brisk: Any
) -> None:
    """SIGKILL in the middle; started again on the same state and port, it serves the same bytes in the end."""
    urls: list[str] = []
    seen: list[int] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    async def on_progress(sent: int, size: int) -> None:
        seen.append(sent)
        if len(seen) == 5:
            assert 0 < sent < size
            await asyncio.to_thread(process.kill)
            await asyncio.to_thread(process.start)

    watch = process.base + "/v/{playback_id}"
    async with LivepeerHost(process.base + "/api", key, watch, polling=brisk) as livepeer:
        ticket = await livepeer.request_upload("big", creator="c")
        await upload(
            ticket.tus_endpoint, big_video, client=http, on_url=on_url, on_progress=on_progress, chunk=64 * 1024,
            patience=Patience(failures=10, first_s=0.05),
        )  # fmt: skip
        playback = await livepeer.wait_until_playable(ticket.asset_id)
        again = await livepeer.wait_until_playable(ticket.asset_id)
    assert len(urls) == 1 and seen == sorted(seen) and seen[-1] == big_video.stat().st_size
    served = (await http.get(playback.mp4_url or "")).content
    assert hashlib.sha256(served).digest() == hashlib.sha256(big_video.read_bytes()).digest()
    assert again == playback


async def test_a_host_killed_while_bytes_arrive_loses_none_that_it_acknowledged(
    process: HostProcess, http: httpx.AsyncClient, big_video: Path, key: str, ignore_url: Any
) -> None:
    """SIGKILL in the middle of a PATCH: afterwards the offset is at least the acknowledged one, the prefix equal."""
    data = big_video.read_bytes()
    tus = {"Tus-Resumable": "1.0.0"}
    patch = {**tus, "Content-Type": "application/offset+octet-stream"}
    async with LivepeerHost(process.base + "/api", key) as livepeer:
        ticket = await livepeer.request_upload("big", creator="c")
    made = await http.post(ticket.tus_endpoint, headers={**tus, "Upload-Length": str(len(data))})
    url = made.headers["location"]
    first = await http.patch(url, content=data[:100_000], headers={**patch, "Upload-Offset": "0"})
    assert first.status_code == 204

    async def slowly() -> Any:
        for start in range(100_000, len(data), 50_000):
            yield data[start : start + 50_000]
            if start > 400_000:
                await asyncio.to_thread(process.kill)

    with pytest.raises(httpx.HTTPError):
        await http.patch(url, content=slowly(), headers={**patch, "Upload-Offset": "100000"})
    process.start()
    offset = int((await http.head(url, headers=tus)).headers["upload-offset"])
    part = next((process.state / "incoming").glob("*.part")).read_bytes()
    assert 100_000 <= offset < len(data) and part == data[:offset]
    assert await upload(ticket.tus_endpoint, big_video, client=http, on_url=ignore_url, resume_url=url) == url


async def test_a_host_killed_while_it_prepares_a_video_finishes_it_after_a_new_start(
    tmp_path: Path, http: httpx.AsyncClient, make: Any, key: str, brisk: Any, ignore_url: Any, until: Any
) -> None:
    """SIGKILL between HLS and mp4: the next process prepares the video again from the bytes that it kept."""
    host = HostProcess(tmp_path / "host", key)
    host.haste = 10  # a second between HLS and mp4
    host.start()
    try:
        async with LivepeerHost(host.base + "/api", key, host.base + "/v/{playback_id}", polling=brisk) as livepeer:
            ticket = await livepeer.request_upload("a", creator="c")
            await upload(ticket.tus_endpoint, make(tmp_path / "clip.mp4", frames=96), client=http, on_url=ignore_url)

            async def processing() -> bool:
                return ((await livepeer.asset(ticket.asset_id)).progress or 0) >= 0.5

            await until(processing)
            host.kill()
            host.haste = 200
            host.start()
            playback = await livepeer.wait_until_playable(ticket.asset_id)
        assert (await http.get(playback.mp4_url or "")).content == (tmp_path / "clip.mp4").read_bytes()
    finally:
        host.kill()


async def test_a_client_that_died_goes_on_from_the_stored_address(
    host: EmbeddedHost, livepeer: LivepeerHost, http: httpx.AsyncClient, big_video: Path, tmp_path: Path
) -> None:
    """The address is stored before the first byte; a second process that has only it sends the rest."""
    ticket = await livepeer.request_upload("big", creator="c")
    stored = tmp_path / "url"
    script = tmp_path / "uploader.py"
    script.write_text(
        "import asyncio, os, signal, sys, httpx\n"
        "from pathlib import Path\n"
        "from generation.hosting.tus import upload\n"
        "async def on_url(url): Path(sys.argv[3]).write_text(url)\n"
        "async def on_progress(sent, size):\n"
        "    if sent > size // 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "async def main():\n"
        "    async with httpx.AsyncClient() as client:\n"
        "        await upload(sys.stdin.read(), Path(sys.argv[2]), client=client, on_url=on_url,\n"
        "                     on_progress=on_progress, chunk=65536)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), "-", str(big_video), str(stored),
        stdin=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    await process.communicate(ticket.tus_endpoint.encode())
    assert process.returncode == -signal.SIGKILL

    progress: list[int] = []

    async def on_progress(sent: int, _: int) -> None:
        progress.append(sent)

    async def on_url(_: str) -> None:
        raise AssertionError("an upload that goes on gets no new address")

    await upload(
        ticket.tus_endpoint, big_video, client=http, on_url=on_url, on_progress=on_progress,
        resume_url=stored.read_text(), chunk=65536,
    )  # fmt: skip
    assert progress[0] > big_video.stat().st_size // 3  # not from the start
    playback = await livepeer.wait_until_playable(ticket.asset_id)
    assert (await http.get(playback.mp4_url or "")).content == big_video.read_bytes()
    # Once more, as after a crash between the last byte and the note of it: nothing is sent, nothing breaks.
    await upload(ticket.tus_endpoint, big_video, client=http, on_url=on_url, resume_url=stored.read_text())


async def test_the_address_is_stored_before_the_first_byte(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, host: EmbeddedHost
) -> None:
    """If storing the address fails, no byte has travelled."""

    async def on_url(url: str) -> None:
        head = await http.head(url, headers={"Tus-Resumable": "1.0.0"})
        assert head.headers["upload-offset"] == "0"
        raise OSError("disk full")

    ticket = await livepeer.request_upload("a", creator="c")
    with pytest.raises(OSError, match="disk full"):
        await upload(ticket.tus_endpoint, video, client=http, on_url=on_url)
    assert (await livepeer.asset(ticket.asset_id)).phase == "uploading"


async def test_a_cut_connection_is_picked_up_where_the_bytes_ended(
    livepeer: LivepeerHost,
    http: httpx.AsyncClient,
    big_video: Path,
    faults: Faults,
    quick: Patience,
    ignore_url: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connection breaks in the middle of a piece; what arrived is not sent again."""
    faults.cut_upload_after = 700_000
    progress: list[int] = []

    async def on_progress(sent: int, _: int) -> None:
        progress.append(sent)

    ticket = await livepeer.request_upload("a", creator="c")
    await upload(
        ticket.tus_endpoint, big_video, client=http, on_url=ignore_url, on_progress=on_progress, patience=quick
    )
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]  # people may leave
    assert any(700_000 <= sent < big_video.stat().st_size for sent in progress)
    playback = await livepeer.wait_until_playable(ticket.asset_id)
    assert (await http.get(playback.mp4_url or "")).content == big_video.read_bytes()


@pytest.mark.parametrize("status", [409, 423, 429, 500, 503])
async def test_passing_refusals_are_outlived(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, faults: Faults, quick: Patience, ignore_url: Any,
    status: int,
) -> None:  # fmt: skip
    """An upload asks where it stands and goes on, as often as its patience allows without progress."""
    ticket = await livepeer.request_upload("a", creator="c")
    faults.answers = [Fault(status, method="PATCH", times=3)]
    await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url, patience=quick)
    assert (await livepeer.asset(ticket.asset_id)).phase != "uploading"


async def test_patience_ends_in_an_error_after_which_the_upload_can_go_on(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, faults: Faults, quick: Patience, ignore_url: Any
) -> None:
    """Too many failures in a row: HostUnreachable, without the address; the same call later succeeds."""
    ticket = await livepeer.request_upload("a", creator="c")
    urls: list[str] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    faults.answers = [Fault(503, method="PATCH", times=4, body="<html>", content_type="text/html")]
    with pytest.raises(HostUnreachable) as caught:
        await upload(ticket.tus_endpoint, video, client=http, on_url=on_url, patience=quick)
    assert "upload/tus" not in str(caught.value)
    await upload(ticket.tus_endpoint, video, client=http, on_url=on_url, resume_url=urls[0])
    assert (await livepeer.wait_until_playable(ticket.asset_id)).mp4_url


@pytest.mark.parametrize("status", [404, 410])
async def test_an_upload_that_the_host_forgot_is_gone(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, faults: Faults, ignore_url: Any, status: int
) -> None:
    """Asking again would not help, so it is not tried; the caller gets a new ticket."""
    ticket = await livepeer.request_upload("a", creator="c")
    faults.answers = [Fault(status, method="HEAD")]
    with pytest.raises(UploadGone, match="new ticket"):
        await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url, resume_url=ticket.tus_endpoint)


async def test_an_upload_of_another_file_is_not_mixed_into_this_one(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, big_video: Path, faults: Faults, quick: Patience
) -> None:
    """The stored address belongs to a file of another size: nothing is appended to it."""
    ticket = await livepeer.request_upload("a", creator="c")
    urls: list[str] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    faults.answers = [Fault(503, method="PATCH", times=4)]
    with pytest.raises(HostUnreachable):
        await upload(ticket.tus_endpoint, big_video, client=http, on_url=on_url, patience=quick)
    with pytest.raises(UploadGone, match="another size"):
        await upload(ticket.tus_endpoint, video, client=http, on_url=on_url, resume_url=urls[0])


def render_anew(path: Path) -> None:
    """Another file of the same size comes to stand under the name, as a repeated render leaves it: by rename."""
    old = path.read_bytes()
    draft = path.with_suffix(".draft")
    draft.write_bytes(old[: len(old) // 2] + bytes(len(old) - len(old) // 2))
    draft.replace(path)


async def test_what_is_sent_is_what_was_opened(
    livepeer: LivepeerHost, http: httpx.AsyncClient, big_video: Path, tmp_path: Path, ignore_url: Any
) -> None:
    """A file that is rendered anew in the middle of its upload is not mixed into the old one."""
    path = tmp_path / "42.mp4"
    path.write_bytes(big_video.read_bytes())

    async def on_progress(sent: int, _: int) -> None:
        if sent == 65536:
            render_anew(path)

    ticket = await livepeer.request_upload("a", creator="c")
    await upload(ticket.tus_endpoint, path, client=http, on_url=ignore_url, on_progress=on_progress, chunk=65536)
    playback = await livepeer.wait_until_playable(ticket.asset_id)
    assert (await http.get(playback.mp4_url or "")).content == big_video.read_bytes() != path.read_bytes()


async def test_an_upload_goes_on_with_the_very_file_or_not_at_all(
    livepeer: LivepeerHost, http: httpx.AsyncClient, big_video: Path, tmp_path: Path, faults: Faults, quick: Patience
) -> None:
    """Broken off in the middle and rendered anew: the rest of another file is not put behind the first half."""
    path = tmp_path / "42.mp4"
    path.write_bytes(big_video.read_bytes())
    digest = hashlib.sha256(big_video.read_bytes()).hexdigest()
    urls: list[str] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    async def on_progress(sent: int, _: int) -> None:
        if sent == 65536:
            render_anew(path)
            faults.answers = [Fault(503, method="PATCH", times=4)]

    ticket = await livepeer.request_upload("a", creator="c")
    with pytest.raises(HostUnreachable):
        await upload(
            ticket.tus_endpoint, path, client=http, on_url=on_url, on_progress=on_progress, chunk=65536, patience=quick
        )
    with pytest.raises(OSError, match="another one"):
        await upload(ticket.tus_endpoint, path, client=http, on_url=on_url, resume_url=urls[0], sha256=digest)
    assert (await livepeer.asset(ticket.asset_id)).phase == "uploading"
    await upload(ticket.tus_endpoint, big_video, client=http, on_url=on_url, resume_url=urls[0], sha256=digest)
    assert (await livepeer.wait_until_playable(ticket.asset_id)).mp4_url


async def test_a_second_upload_of_a_finished_asset_is_told_so(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, ignore_url: Any
) -> None:
    """The asset has its bytes: an error of its own, which a caller may take for success."""
    ticket = await livepeer.request_upload("a", creator="c")
    await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
    with pytest.raises(AlreadyUploaded):
        await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)


async def test_a_bad_token_is_refused_without_showing_it(
    host: EmbeddedHost, http: httpx.AsyncClient, video: Path, ignore_url: Any
) -> None:
    """403 with the host's sentence; the token stays out of ours."""
    endpoint = f"{host.api_base}/asset/upload/tus?token=aaa.bbbsecretbbb.ccc"
    with pytest.raises(HostRejected, match="Invalid signed upload URL") as caught:
        await upload(endpoint, video, client=http, on_url=ignore_url)
    assert caught.value.status == 403 and "bbbsecretbbb" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["file:///etc/passwd", "ftp://h/x", "//h/x", "http://u:p@h/x", "http://", ""])
async def test_endpoints_of_another_scheme_are_refused(
    http: httpx.AsyncClient, video: Path, ignore_url: Any, endpoint: str
) -> None:
    """Neither as endpoint nor as stored address."""
    with pytest.raises(ValueError, match="http or https"):
        await upload(endpoint, video, client=http, on_url=ignore_url)
    with pytest.raises(ValueError, match="http or https"):
        await upload("http://127.0.0.1:1/x", video, client=http, on_url=ignore_url, resume_url=endpoint)


async def test_missing_and_empty_files_are_the_local_sides_errors(
    http: httpx.AsyncClient, tmp_path: Path, ignore_url: Any
) -> None:
    """OSError, before anything is sent."""
    (tmp_path / "empty.mp4").touch()
    for name in ("missing.mp4", "empty.mp4"):
        with pytest.raises(OSError, match=name):
            await upload("http://127.0.0.1:1/x", tmp_path / name, client=http, on_url=ignore_url)


async def test_a_redirect_is_followed_without_the_clients_key_and_never_down_from_https(
    host: EmbeddedHost, livepeer: LivepeerHost, video: Path, faults: Faults, quick: Patience, ignore_url: Any
) -> None:
    """Whatever default headers the client has, no Authorization and no cookie travels with an upload."""
    sent: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        sent.append(request)

    headers, cookies = {"Authorization": "Bearer sk-secret"}, {"session": "sk-cookie"}
    ticket = await livepeer.request_upload("a", creator="c")
    faults.answers = [Fault(307, method="POST", headers={"Location": ticket.tus_endpoint + "&hop=1"})]
    async with httpx.AsyncClient(
        headers=headers, cookies=cookies, auth=("user", "pw"), event_hooks={"request": [note]}
    ) as client:
        await upload(ticket.tus_endpoint, video, client=client, on_url=ignore_url)
        assert len(sent) == 3 and all("authorization" not in r.headers for r in sent)
        assert all("cookie" not in r.headers for r in sent)
        faults.answers = [Fault(307, method="POST", headers={"Location": "file:///etc/passwd"})]
        with pytest.raises(HostRejected, match="no usable address"):
            await upload(ticket.tus_endpoint, video, client=client, on_url=ignore_url)
        faults.answers = [Fault(307, method="POST", headers={"Location": ticket.tus_endpoint}, times=99)]
        with pytest.raises(HostRejected, match="circles"):
            await upload(ticket.tus_endpoint, video, client=client, on_url=ignore_url)

    secure = "https://127.0.0.1/upload"
    down = httpx.MockTransport(lambda _: httpx.Response(201, headers={"Location": "http://127.0.0.1/x"}))
    async with httpx.AsyncClient(transport=down) as client:  # there is no certificate for a real https host here
        with pytest.raises(HostRejected, match="no usable address"):
            await upload(secure, video, client=client, on_url=ignore_url, patience=quick)


def test_sigterm_ends_the_process_cleanly_and_its_state_is_one_processs_own(process: HostProcess, key: str) -> None:
    """A second process on the same state says why it will not start; SIGTERM is exit 0; the next start is fine."""
    command = [sys.executable, "-m", "bot.demo.host", "--state", str(process.state)]
    second = subprocess.run(
        command, env={**os.environ, KEY_VARIABLE: key}, capture_output=True, text=True, check=False, timeout=60
    )
    assert second.returncode == 2 and "already runs" in second.stderr and second.stdout == ""
    keyless = {k: v for k, v in os.environ.items() if k != KEY_VARIABLE}
    third = subprocess.run(command, env=keyless, capture_output=True, text=True, check=False, timeout=60)
    assert third.returncode == 2 and KEY_VARIABLE in third.stderr and "Traceback" not in third.stderr
    assert process.kill(signal.SIGTERM) == 0
    process.start()


def test_the_process_ends_when_its_parent_does(process: HostProcess) -> None:
    """With --watch-stdin, the end of stdin is the end of the host."""
    assert process.process is not None and process.process.stdin is not None
    process.process.stdin.close()
    assert process.wait() == 0


async def test_an_upload_can_be_cancelled(
    livepeer: LivepeerHost, http: httpx.AsyncClient, big_video: Path, ignore_url: Any
) -> None:
    """Cancellation is not mistaken for an outage."""
    started = asyncio.Event()

    async def on_progress(sent: int, _: int) -> None:
        if sent:
            started.set()
            await asyncio.sleep(60)

    ticket = await livepeer.request_upload("a", creator="c")
    task = asyncio.create_task(
        upload(ticket.tus_endpoint, big_video, client=http, on_url=ignore_url, on_progress=on_progress, chunk=65536)
    )
    await started.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
