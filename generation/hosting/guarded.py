"""Requests to addresses that a video host names: within our reach, by every address of a name, and in a limited time.

The name is resolved here, and the connection goes to the very address that was looked at: a name that points elsewhere
a moment later changes nothing. Where a proxy is set, it resolves the names, and its rules hold.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from generation.hosting.reach import ForbiddenAddressError, IpAddress, Reach

TIMEOUT = httpx.Timeout(60.0, connect=10.0)  # seconds for each part of an answer
TOTAL_S = 300.0  # for a whole file: a host that gives a byte a minute is never late for a part
MOST_HOPS = 3
MOST_BYTES = 8 << 20  # of an answer that is no file
NO_ANSWER = 0  # in the place of a status, where nothing was asked
_OF_THE_WIRE = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})  # not of what was read
FORBIDDEN = "The video host named an address that is not its own: one inside our network, or of another host."


def guarded_client(reach: Reach, timeout: httpx.Timeout = TIMEOUT) -> httpx.AsyncClient:
    """Return a client that asks nothing beyond a reach. Its requests raise ForbiddenAddressError."""
    return httpx.AsyncClient(transport=GuardedTransport(reach), timeout=timeout, follow_redirects=False)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Connects to the addresses of a name that it has looked at, all of which must be within reach."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._verify = httpx.create_ssl_context()
        self._of_hosts: dict[str, httpx.AsyncHTTPTransport] = {}  # a connection is never another host's

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._of_hosts.values():
            await transport.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the first address of its host that answers. Raises ForbiddenAddressError."""
        host = request.url.host
        addresses = await self._addresses(request)
        transport = self._of_hosts.setdefault(host, httpx.AsyncHTTPTransport(verify=self._verify))
        failure: httpx.TransportError | None = None
        for address in addresses:
            direct = httpx.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,  # the name stands in Host already
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await transport.handle_async_request(direct)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # nothing was sent yet
                failure = error
        raise failure or httpx.ConnectError("The name has no address.")

    async def _addresses(self, request: httpx.Request) -> list[IpAddress]:
        """Return the addresses of a request's host. One that is beyond our reach forbids the host as a whole."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        limit = request.extensions.get("timeout", {}).get("connect")
        try:
            async with asyncio.timeout(limit):
                found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise httpx.ConnectTimeout("The name was not resolved in time.") from None
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"The name cannot be resolved ({type(error).__name__}).") from None
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not all(self._reach.allows(url.host, address) for address in addresses):
            raise ForbiddenAddressError(FORBIDDEN)
        return list(dict.fromkeys(addresses))


@dataclass(frozen=True)
class Fetched:
    """The answer to a fetch: its status, and as much of its body as was wanted."""

    is_success: bool
    data: bytes
    is_whole: bool  # False where there was more than was wanted


async def fetch(
    url: str, reach: Reach, most_bytes: int, *, headers: dict[str, str] | None = None, total_s: float = TOTAL_S
) -> Fetched:
    """Return what is at an address, at most `most_bytes` of it, also by way of redirects within its own host.

    Raises ForbiddenAddressError for an address that may not be asked, TimeoutError after `total_s` seconds in all, and
    httpx.HTTPError or httpx.InvalidURL.
    """
    async with asyncio.timeout(total_s), guarded_client(reach) as client:
        for _ in range(MOST_HOPS + 1):
            if not reach.allows_url(url):
                raise ForbiddenAddressError(FORBIDDEN)
            async with client.stream("GET", url, headers=headers) as answer:
                if not answer.has_redirect_location:
                    return await _read(answer, most_bytes)
                url = next_hop(answer)
    raise httpx.TooManyRedirects("The host sent us in circles.", request=answer.request)


async def bounded(answer: httpx.Response, most_bytes: int = MOST_BYTES) -> httpx.Response:
    """Return a streamed answer with its body, as one that was read at once. Raises httpx.RemoteProtocolError."""
    found = await _read(answer, most_bytes)
    if not found.is_whole:
        raise httpx.RemoteProtocolError("The answer is too large.", request=answer.request)
    headers = [(name, value) for name, value in answer.headers.raw if name.lower() not in _OF_THE_WIRE]
    return httpx.Response(answer.status_code, headers=headers, content=found.data, request=answer.request)


def next_hop(answer: httpx.Response) -> str:
    """Return the address to which a host sends us: of the same host, and never from https to http.

    Raises ForbiddenAddressError.
    """
    target = answer.url.join(answer.headers["location"])
    if target.host != answer.url.host or target.scheme not in {answer.url.scheme, "https"}:
        raise ForbiddenAddressError(FORBIDDEN)
    return str(target)


async def _read(answer: httpx.Response, most_bytes: int) -> Fetched:
    data = bytearray()
    async for part in answer.aiter_bytes():
        data += part
        if len(data) > most_bytes:
            return Fetched(answer.is_success, bytes(data[:most_bytes]), is_whole=False)
    return Fetched(answer.is_success, bytes(data), is_whole=True)
