"""Videos in an S3-compatible store: uploaded without its key, killed anywhere, played by everybody, deleted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from generation.hosting.host import (
    AssetMissing,
    HostedAsset,
    HostRejected,
    HostUnreachable,
    NotReady,
    Polling,
    UploadGone,
    UploadTicket,
    claim_upload,
)
from generation.hosting.s3 import S3Host
from generation.hosting.s3_upload import upload
from generation.hosting.tus import Patience
from tests.builders.seaweed import ACCESS, BUCKET, SECRET, Seaweed

BRISK = Polling(first_s=0.05, longest_s=0.2, deadline_s=20.0)
PATIENT = Patience(failures=60, first_s=0.05, longest_s=0.5)
SMALL = 64 * 1024


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    seaweed = Seaweed(tmp_path_factory.mktemp("seaweed"))
    seaweed.start()
    yield seaweed
    seaweed.kill()


@pytest.fixture
async def s3(store: Seaweed) -> AsyncIterator[S3Host]:
    host = S3Host(store.settings(), polling=BRISK)
    yield host
    await host.aclose()


@pytest.fixture
def clip(big_video: Path, tmp_path: Path) -> Path:
    """A video with its poster, as a worker leaves them."""
    path = tmp_path / "videos" / "42.mp4"
    path.parent.mkdir()
    path.write_bytes(big_video.read_bytes())
    path.with_suffix(".jpg").write_bytes(b"\xff\xd8 a picture")
    return path


async def ticket_for(s3: S3Host, clip: Path, name: str) -> UploadTicket:
    return await s3.request_upload(name, creator="discord:1", size_bytes=clip.stat().st_size)


def in_small_parts(ticket: UploadTicket) -> dict[str, Any]:
    """The plan with parts of 64 KiB: the store in these tests takes them, and an upload then has a middle."""
    plan: dict[str, Any] = json.loads(json.dumps(ticket.presigned))
    for each in plan["objects"]:
        if "parts" in each:
            [first] = each["parts"]
            assert "partNumber=1&" in first
            each["part_bytes"] = SMALL
    return plan


async def whole(s3: S3Host, http: httpx.AsyncClient, asset_id: str, clip: Path) -> None:
    """The video plays, in both forms, and is the very one."""
    playback = await s3.wait_until_playable(asset_id)
    served = await http.get(playback.mp4_url or "")
    assert hashlib.sha256(served.content).digest() == hashlib.sha256(clip.read_bytes()).digest()
    with av.open(playback.hls_url or "") as stream:
        assert sum(1 for _ in stream.decode(video=0)) == 120


async def test_a_video_goes_all_the_way_from_ticket_to_deletion(
    s3: S3Host, http: httpx.AsyncClient, clip: Path, store: Seaweed
) -> None:
    """Uploaded by signed addresses alone, it plays from the public address, and is nowhere after its deletion."""
    ticket = await ticket_for(s3, clip, "a cat · flock-1")
    assert (await s3.asset(ticket.asset_id)).phase == "uploading"
    with pytest.raises(NotReady):
        await s3.playback(ticket.asset_id)
    progress: list[tuple[int, int]] = []

    async def on_progress(sent: int, size: int) -> None:
        progress.append((sent, size))

    await upload(ticket.presigned or {}, clip, client=http, on_progress=on_progress)
    assert progress == sorted(progress)
    assert progress[-1][0] == progress[-1][1] > 2 * clip.stat().st_size * 0.9
    assert [path.name for path in sorted(clip.parent.iterdir())] == ["42.jpg", "42.mp4"]  # nothing is left beside it

    await whole(s3, http, ticket.asset_id, clip)
    playback = await s3.playback(ticket.asset_id)
    assert playback.page_url is None
    kinds = {
        playback.mp4_url: "video/mp4",
        playback.hls_url: "application/vnd.apple.mpegurl",
        playback.poster_url: "image/jpeg",
    }
    for url, kind in kinds.items():
        answer = await http.get(url or "", headers={"Range": "bytes=0-3"})
        assert (answer.status_code, len(answer.content)) == (206, 4)
        assert answer.headers["content-type"] == kind
        assert "immutable" in answer.headers["cache-control"]
    assert await s3.views(ticket.asset_id) is None

    await s3.delete(ticket.asset_id)
    await s3.delete(ticket.asset_id)  # once more is no error
    with pytest.raises(AssetMissing):
        await s3.asset(ticket.asset_id)
    for url in kinds:
        assert (await http.get(url or "")).status_code == 404


async def test_a_repeated_claim_makes_no_second_asset_of_an_uploaded_video(
    s3: S3Host, http: httpx.AsyncClient, clip: Path
) -> None:
    """Before its upload an orphan gives way to a new ticket; after it, the asset is the answer."""
    size = clip.stat().st_size
    orphan = await claim_upload(s3, "v1", creator="c", size_bytes=size)
    ticket = await claim_upload(s3, "v1", creator="c", size_bytes=size)
    assert isinstance(orphan, UploadTicket)
    assert isinstance(ticket, UploadTicket)
    with pytest.raises(AssetMissing):
        await s3.asset(orphan.asset_id)
    with pytest.raises(UploadGone):
        await upload(orphan.presigned or {}, clip, client=http, patience=Patience(failures=3, first_s=0.01))
    await upload(ticket.presigned or {}, clip, client=http)
    again = await claim_upload(s3, "v1", creator="c", size_bytes=size)
    assert isinstance(again, HostedAsset)
    assert again.asset_id == ticket.asset_id
    assert await s3.find_asset("v2") is None


async def test_what_was_begun_is_found_and_given_up_where_whole_keys_alone_are_listed(
    s3: S3Host, http: httpx.AsyncClient, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MinIO lists uploads: none of an asset is left after its deletion, and those of another one stay."""
    listed = s3._s3.list_multipart_uploads

    def by_whole_key(**asked: Any) -> dict[str, Any]:
        return {"Uploads": [each for each in listed(**asked).get("Uploads", []) if each["Key"] == asked["Prefix"]]}

    def begun(asset_id: str) -> int:
        return sum(asset_id in each["Key"] for each in listed(Bucket=BUCKET).get("Uploads", []))

    monkeypatch.setattr(s3._s3, "list_multipart_uploads", by_whole_key)
    ticket, other = [await ticket_for(s3, clip, name) for name in ("begun", "begun as well")]
    assert (begun(ticket.asset_id), begun(other.asset_id)) == (2, 2)
    found = await s3.find_asset("begun")
    assert found is not None
    assert (found.asset_id, found.phase) == (ticket.asset_id, "uploading")
    await s3.delete(ticket.asset_id)
    assert (begun(ticket.asset_id), begun(other.asset_id)) == (0, 2)
    assert await s3.find_asset("begun") is None
    with pytest.raises(UploadGone):
        await upload(ticket.presigned or {}, clip, client=http, patience=Patience(failures=3, first_s=0.01))
    await upload(other.presigned or {}, clip, client=http)
    assert (await s3.asset(other.asset_id)).phase == "ready"


async def test_an_upload_that_is_complete_is_not_sent_again(s3: S3Host, http: httpx.AsyncClient, clip: Path) -> None:
    """As after a crash between the last answer and our note of it: only the two small files travel once more."""
    ticket = await ticket_for(s3, clip, "twice")
    await upload(ticket.presigned or {}, clip, client=http)
    sent = 0

    async def count(request: httpx.Request) -> None:
        nonlocal sent
        sent += len(request.content)

    http.event_hooks["request"] = [count]
    await upload(ticket.presigned or {}, clip, client=http)
    assert sent < 2000
    await whole(s3, http, ticket.asset_id, clip)


UPLOADER = """
import asyncio, json, os, signal, sys, httpx
from pathlib import Path
from generation.hosting.s3_upload import upload

async def on_progress(sent, size):
    if sent >= size * float(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with httpx.AsyncClient() as client:
        await upload(json.load(sys.stdin), Path(sys.argv[1]), client=client, on_progress=on_progress)

asyncio.run(main())
"""


@pytest.mark.parametrize("share", ["0", "0.3", "0.7", "1"])
async def test_the_uploader_is_killed_and_another_one_goes_on(
    s3: S3Host, store: Seaweed, http: httpx.AsyncClient, make: Any, tmp_path: Path, share: str
) -> None:
    """SIGKILL in the mp4, in the stream, at the end: with the same plan the rest is sent, and no part twice."""
    clip = tmp_path / "videos" / "42.mp4"
    clip.parent.mkdir()
    make(clip, frames=1200, noise=True)  # more than two parts of 5 MiB, the least that stores take
    ticket = await ticket_for(s3, clip, f"killed {share}")
    plan = json.loads(json.dumps(ticket.presigned))
    parts = sum(len(each.get("parts", [])) for each in plan["objects"])
    assert parts >= 4
    (tmp_path / "uploader.py").write_text(UPLOADER)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(tmp_path / "uploader.py"), str(clip), share, stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    await process.communicate(json.dumps(plan).encode())
    assert process.returncode == -signal.SIGKILL
    sent: list[int] = []

    async def count(request: httpx.Request) -> None:
        if "partNumber" in str(request.url):
            sent.append(len(request.content))

    http.event_hooks["request"] = [count]
    await upload(plan, clip, client=http)
    total = clip.stat().st_size
    assert sum(sent) < 2.1 * total * (1 - float(share)) + 8 * 1024 * 1024
    assert [path.name for path in clip.parent.iterdir()] == ["42.mp4"]
    playback = await s3.wait_until_playable(ticket.asset_id)
    assert (await http.get(playback.mp4_url or "")).content == clip.read_bytes()


async def test_the_store_is_killed_in_the_middle(tmp_path: Path, http: httpx.AsyncClient, make: Any) -> None:
    """SIGKILL of the store between two parts; started again, it gets the rest, and the video plays."""
    seaweed = Seaweed(tmp_path / "seaweed")
    seaweed.start()
    s3 = S3Host(seaweed.settings(), polling=BRISK)
    try:
        clip = make(tmp_path / "42.mp4", frames=1200, noise=True)
        ticket = await ticket_for(s3, clip, "survivor")
        struck = False

        async def on_progress(sent: int, size: int) -> None:
            nonlocal struck
            if sent and not struck:
                struck = True
                await asyncio.to_thread(seaweed.kill)
                restarting.append(asyncio.create_task(asyncio.to_thread(seaweed.start)))

        restarting: list[asyncio.Task[None]] = []
        await upload(
            ticket.presigned or {}, clip, client=http, on_progress=on_progress,
            patience=Patience(failures=200, first_s=0.1, longest_s=0.5),
        )  # fmt: skip
        await asyncio.gather(*restarting)
        playback = await s3.wait_until_playable(ticket.asset_id)
        assert (await http.get(playback.mp4_url or "")).content == clip.read_bytes()
    finally:
        await s3.aclose()
        seaweed.kill()


async def test_a_file_that_was_rendered_anew_is_not_sent(s3: S3Host, http: httpx.AsyncClient, clip: Path) -> None:
    """The hash is of the file that was opened."""
    ticket = await ticket_for(s3, clip, "anew")
    with pytest.raises(OSError, match="another one"):
        await upload(ticket.presigned or {}, clip, client=http, sha256="0" * 64)
    assert (await s3.asset(ticket.asset_id)).phase == "uploading"


async def test_a_video_that_outgrew_its_plan_needs_a_new_one(s3: S3Host, http: httpx.AsyncClient, clip: Path) -> None:
    """As does what is planned for less than it is."""
    ticket = await ticket_for(s3, clip, "grown")
    plan = in_small_parts(ticket)
    with pytest.raises(UploadGone, match="another size"):
        await upload(plan, clip, client=http)


async def test_a_bucket_that_nobody_may_read_is_told(store: Seaweed, http: httpx.AsyncClient, clip: Path) -> None:
    """The operator reads what to look at; no card gets a link that leads nowhere."""
    s3 = S3Host(store.settings(public_url=f"{store.endpoint}/elsewhere/{{key}}"), polling=BRISK)
    ticket = await ticket_for(s3, clip, "private")
    await upload(ticket.presigned or {}, clip, client=http)
    with pytest.raises(HostRejected, match="FLOCK_S3_PUBLIC_URL"):
        await s3.wait_until_playable(ticket.asset_id)
    await s3.aclose()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"secret_key": "not-the-secret"}, "403 SignatureDoesNotMatch"),
        ({"access_key": "nobody"}, "403 InvalidAccessKeyId"),
        ({"bucket": "nowhere"}, "404 NoSuchBucket"),
    ],
)
async def test_what_the_store_refuses_is_told(store: Seaweed, changed: dict[str, str], words: str) -> None:
    """In its own word for it, with what to check, and without the key."""
    s3 = S3Host(store.settings(**changed), polling=BRISK)
    with pytest.raises(HostRejected, match=words) as caught:
        await s3.check()
    assert "bucket and region" in str(caught.value)
    for secret in (*changed.values(), SECRET, ACCESS):
        assert secret not in f"{caught.value!r} {s3!r} {store.settings(**changed)!r}" or secret == "nowhere"
    await s3.aclose()


async def test_a_store_that_is_away_is_asked_again(store: Seaweed, http: httpx.AsyncClient, clip: Path) -> None:
    """For both sides it is an outage, told without an address."""
    s3 = S3Host(store.settings(endpoint="http://127.0.0.1:9"), polling=BRISK)
    with pytest.raises(HostUnreachable) as caught:
        await s3.check()
    assert caught.value.retryable
    assert "127.0.0.1" not in str(caught.value)
    here = S3Host(store.settings(), polling=BRISK)
    ticket = await ticket_for(here, clip, "away")
    plan = json.loads(json.dumps(ticket.presigned).replace(store.endpoint, "http://127.0.0.1:9"))
    with pytest.raises(HostUnreachable) as caught:
        await upload(plan, clip, client=http, patience=Patience(failures=3, first_s=0.01))
    assert "X-Amz" not in str(caught.value)
    for host in (s3, here):
        await host.aclose()


async def test_no_secret_shows(
    s3: S3Host, http: httpx.AsyncClient, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither key nor signature stands in a log, at any level, nor in what is printed of a ticket."""
    caplog.set_level(logging.DEBUG)
    ticket = await ticket_for(s3, clip, "secret")
    await upload(ticket.presigned or {}, clip, client=http)
    assert "HTTP Request" in caplog.text
    assert not [word for word in (SECRET, "X-Amz-Signature", "X-Amz-Credential") if word in caplog.text + repr(ticket)]
    assert UploadTicket.from_json(ticket.to_json()) == ticket


@pytest.mark.parametrize(
    "plan",
    [{}, {"objects": []}, {"objects": None}, {"objects": [{"name": "video.mp4"}]}, "file"],
)
async def test_a_plan_that_is_none_is_refused(s3: S3Host, http: httpx.AsyncClient, clip: Path, plan: Any) -> None:
    """Before anything is sent; an address of another scheme is no address."""
    if plan == "file":
        text = json.dumps((await ticket_for(s3, clip, "x")).presigned)
        plan = json.loads(text.replace("http://", "file://"))
    with pytest.raises(ValueError, match="plan"):
        await upload(plan, clip, client=http)


@pytest.mark.parametrize(
    "changed",
    [
        {"public_url": "https://videos.example.org/"},
        {"public_url": "ftp://videos.example.org/{key}"},
        {"endpoint": "s3.example.org"},
        {"prefix": "../x"},
        {"prefix": "a b"},
    ],
)
def test_settings_that_cannot_be_used_are_refused(changed: dict[str, str]) -> None:
    """At once, with a sentence."""
    from generation.hosting.s3 import S3Settings

    good = S3Settings(BUCKET, "https://videos.example.org/{key}", "a", "s", endpoint="https://s3.example.org")
    S3Host(good)
    with pytest.raises(ValueError, match=r"address|prefix"):
        S3Host(replace(good, **changed))


async def test_ids_that_would_leave_their_folder_are_refused(s3: S3Host) -> None:
    """An id is part of a key, so it must not be able to name another one's."""
    for bad in ("../x", "", "a" * 33, "0123456789abcdef-0123456789abcdef/.."):
        with pytest.raises(ValueError, match="hex"):
            await s3.delete(bad)
