"""Requests to addresses that a host names: over real sockets, with a resolver that the attacker has."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from generation.hosting.guarded import bounded, fetch, guarded_client
from generation.hosting.reach import PUBLIC, ForbiddenAddressError, Reach

NAME = "videos.example"
OURS = Reach.of(f"http://{NAME}/", trust_names=True)
LOOPBACK = Reach.of("http://127.0.0.1/")


class Site:
    """A web server on loopback that writes down who was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    async def start(self, tls: ssl.SSLContext | None = None) -> web.AppRunner:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.asked.append(f"{request.host.partition(':')[0]}{request.path}")
            match request.path:
                case "/there":
                    raise web.HTTPFound("/video")
                case "/elsewhere":
                    raise web.HTTPFound(f"http://localhost:{self.port}/video")
                case "/round":
                    raise web.HTTPFound("/round")
                case "/slow":
                    response = web.StreamResponse()
                    await response.prepare(request)
                    while True:
                        await response.write(b"x")
                        await asyncio.sleep(0.05)
            return web.Response(body=b"0123456789")

        application = web.Application()
        application.router.add_get("/{name}", answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.port = runner.addresses[0][1]
        return runner


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    runner = await site.start()
    yield site
    await runner.cleanup()


def resolve(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> list[str]:
    """Let names point at these addresses; return the list of names that were asked for, as they come."""
    loop, asked = asyncio.get_running_loop(), list[str]()
    known = {name.replace("_", "."): addresses for name, addresses in names.items()}
    original = loop.getaddrinfo

    async def getaddrinfo(host: Any, port: Any, **options: Any) -> Any:
        if host not in known:
            return await original(host, port, **options)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    return asked


async def test_a_name_that_points_inside_is_not_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that points inside with a single of its addresses: the next look might take that one."""
    resolve(monkeypatch, inside_example=["127.0.0.1"], both_example=["93.184.216.34", "127.0.0.1"])
    for name in ("inside.example", "both.example"):
        with pytest.raises(ForbiddenAddressError):
            await fetch(f"http://{name}:{site.port}/video", PUBLIC, 100)
    assert site.asked == []


async def test_a_name_is_resolved_once_and_the_connection_goes_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look, which could have another answer, is never made; the server still learns the name."""
    asked = resolve(monkeypatch, videos_example=["127.0.0.1"])
    found = await fetch(f"http://{NAME}:{site.port}/video", OURS, 100)
    assert (found.is_success, found.data, found.is_whole) == (True, b"0123456789", True)
    assert (asked, site.asked) == ([NAME], [f"{NAME}/video"])


async def test_an_address_that_does_not_answer_gives_way_to_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a browser does it: many names have an address that is out of order."""
    resolve(monkeypatch, videos_example=["127.0.0.2", "127.0.0.1"])
    assert (await fetch(f"http://{NAME}:{site.port}/video", OURS, 100)).is_success


async def test_a_name_without_an_address_is_an_unreachable_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """That passes by itself, so callers wait it out; a forbidden address does not."""
    resolve(monkeypatch, videos_example=[])
    with pytest.raises(httpx.ConnectError):
        await fetch(f"http://{NAME}/video", OURS, 100)


@pytest.mark.parametrize(("path", "error"), [("elsewhere", ForbiddenAddressError), ("round", httpx.TooManyRedirects)])
async def test_only_redirects_within_the_host_are_followed(site: Site, path: str, error: type[Exception]) -> None:
    """To another name, even of the same machine, none is; and not for ever."""
    base = f"http://127.0.0.1:{site.port}"
    assert (await fetch(f"{base}/there", LOOPBACK, 100)).data == b"0123456789"
    with pytest.raises(error):
        await fetch(f"{base}/{path}", LOOPBACK, 100)
    assert not [each for each in site.asked if each.startswith("localhost")]


async def test_a_host_that_drips_is_given_up(site: Site) -> None:
    """Each part comes in time, and the whole never does."""
    with pytest.raises(TimeoutError):
        await fetch(f"http://127.0.0.1:{site.port}/slow", LOOPBACK, 10_000, total_s=0.5)


async def test_no_more_is_read_than_was_wanted(site: Site) -> None:
    found = await fetch(f"http://127.0.0.1:{site.port}/video", LOOPBACK, 4)
    assert (found.data, found.is_whole) == (b"0123", False)


async def test_an_answer_that_is_no_file_has_a_limit(site: Site) -> None:
    """Within it, the answer is as if it had been read at once; beyond it, the host is out of order."""
    async with guarded_client(LOOPBACK) as client:
        async with client.stream("GET", f"http://127.0.0.1:{site.port}/video") as answer:
            whole = await bounded(answer)
        assert (whole.status_code, whole.content, whole.headers["content-type"]) == (
            200, b"0123456789", "application/octet-stream",
        )  # fmt: skip
        async with client.stream("GET", f"http://127.0.0.1:{site.port}/video") as answer:
            with pytest.raises(httpx.RemoteProtocolError):
                await bounded(answer, 9)


# ------------------------------------------------------------------ TLS


def certificate_of(name: str, folder: Path) -> ssl.SSLContext:
    """A server's TLS for a name, by a certificate that stands as `cert.pem` in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, secret)
    return context


@pytest.mark.parametrize(("name", "is_trusted"), [(NAME, True), ("other.example", False)])
async def test_the_certificate_is_that_of_the_name(
    name: str, is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to an address, but the host must prove the name: one for another name does not do."""
    site = Site()
    runner = await site.start(certificate_of(name, tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    resolve(monkeypatch, videos_example=["127.0.0.1"])
    try:
        async with guarded_client(OURS) as client:
            if is_trusted:
                assert (await client.get(f"https://{NAME}:{site.port}/video")).content == b"0123456789"
            else:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get(f"https://{NAME}:{site.port}/video")
    finally:
        await runner.cleanup()
