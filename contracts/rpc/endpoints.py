"""One or several nodes of one chain behind web3's provider: reads are repeated at another node, a sending never is.

The first node that is well is asked, in the order in which they were given. A node is left out while it does not
answer, answers with something else than JSON, serves another chain, or is behind the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from web3 import AsyncHTTPProvider
from web3.exceptions import Web3RPCError
from web3.types import RPCEndpoint

from contracts.rpc.urls import addresses, names

log = logging.getLogger(__name__)

BUSY = (-32005, -32029, 429)  # what providers answer when they want us to slow down
INTERNAL = -32603  # the node failed at something; for a read, asking again is worth it
SENDS = ("eth_sendRawTransaction", "eth_sendTransaction", "eth_sendRawTransactionConditional")
LOOK_S = 5.0  # a look at a node may take so long
AT_ONCE = 16  # reads that are under way at the same time


class NoUsableNodeError(Exception):
    """None of the nodes may be asked; the message is a sentence."""


class NoJsonError(Exception):
    """The node answered with a web page, or with nothing; the message says so."""


FAILURES = (aiohttp.ClientError, TimeoutError, OSError, NoJsonError)


@dataclass(frozen=True)
class Patience:
    """The way reads are repeated. Times in seconds.

    A read is tried `tries` times, or once at each node where there are more of them. A node that failed rests for
    `rest_s`; all are looked at every `look_every_s`; one whose latest block is over `most_behind_s` older than the
    newest is left out. A node that is doubted is asked last for `doubt_s`.
    """

    tries: int = 3
    pause_s: float = 0.1
    rest_s: float = 10.0
    look_every_s: float = 15.0
    most_behind_s: float = 60.0
    doubt_s: float = 120.0


@dataclass
class _Endpoint:
    url: str = field(repr=False)
    name: str
    wrong: str | None = None  # why it is left out until a look finds it well
    failed: str | None = None  # why the last request failed
    rests_until: float = 0.0
    doubted_until: float = 0.0  # what it says is not believed as it stands
    lost_a_sending: float = 0.0  # when it last lost one; a node may answer questions and take nothing
    stamp: int | None = None  # of its latest block, in seconds since the epoch


class Endpoints(AsyncHTTPProvider):
    """A provider for web3 that keeps its connections; web3's own opens one (and a TLS session) for every request."""

    def __init__(self, text: str, timeout_s: float, patience: Patience | None = None) -> None:
        urls = addresses(text)
        self._endpoints = [_Endpoint(url, name) for url, name in zip(urls, names(urls), strict=True)]
        # web3 logs and shows its address: that one holds no secret. Its own retries would repeat sendings, too.
        super().__init__("http://node.invalid", exception_retry_configuration=None)
        self._patience = patience or Patience()
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._chain_id: int | None = None
        self._takes_batches = True
        self._looking = asyncio.Lock()
        self._look_again = 0.0
        self._latest = self._endpoints[0]

    def __str__(self) -> str:
        return f"RPC connection {self.asked}"

    __repr__ = __str__

    @property
    def asked(self) -> str:
        """The name of the node that was asked last."""
        return self._latest.name

    @property
    def several(self) -> bool:
        """True where there are several nodes."""
        return len(self._endpoints) > 1

    def expect(self, chain_id: int) -> None:
        """Leave out nodes of any other chain from now on."""
        if chain_id != self._chain_id:
            self._chain_id, self._look_again = chain_id, 0.0

    def doubt(self, why: str) -> None:
        """Ask other nodes than the one that was asked last for a while, where there are any, however well it is."""
        now = asyncio.get_running_loop().time()
        if self.several and self._latest.doubted_until < now:
            log.warning("The chain's node at %s is asked last for a while: %s.", self._latest.name, why)
        self._latest.doubted_until = now + self._patience.doubt_s

    def troubles(self) -> str:
        """Return each node's trouble, for a sentence."""
        unwell = [node for node in self._endpoints if node.wrong or node.failed]
        return "; ".join(f"{node.name}: {node.wrong or node.failed}" for node in unwell)

    async def disconnect(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------------ asking

    async def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        """Return the bytes of an answer. A sending goes out once: after a failure nobody knows whether it arrived."""
        await self._look()
        if method in SENDS:
            endpoint = self._choose(set(), sending=True)
            try:
                return await self._post(endpoint, request_data)
            except FAILURES as error:
                self._let_rest(endpoint, _words(error))
                endpoint.lost_a_sending = asyncio.get_running_loop().time()
                raise
        tries, failed_names, until = 0, set[str](), asyncio.get_running_loop().time() + self._timeout_s
        while True:
            endpoint = self._choose(failed_names)
            tries += 1
            failed_names.add(endpoint.name)
            try:
                answer = await self._post(endpoint, request_data)
            except FAILURES as error:
                self._let_rest(endpoint, _words(error))
                if self._enough(tries, failed_names, until):
                    raise
            else:
                if not _is_passing(method, answer) or self._enough(tries, failed_names, until):
                    self._is_well(endpoint)
                    return answer
                self._let_rest(endpoint, "it is busy")
            if self._choose(failed_names).name in failed_names:  # no other node is left: give this one a moment
                await asyncio.sleep(self._patience.pause_s * 2 ** (tries - 1) * random.uniform(0.5, 1.5))  # noqa: S311  # spreads retries

    async def batch(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """Return the results of several reads, in order, of one request.

        Each that fails in it is asked for once more by itself, and so are all where the node takes no batches. Raises
        Web3RPCError where the node declines one.
        """
        answers: dict[object, dict[str, Any]] = {}
        requests = [self.form_request(RPCEndpoint(method), list(params)) for method, params in calls]
        if self._takes_batches and len(calls) > 1:
            data = self.encode_batch_request_dicts(requests)
            with contextlib.suppress(aiohttp.ClientResponseError, NoJsonError):  # a request by itself will tell
                answers = _by_id(await self._make_request(RPCEndpoint("batch"), data))
            self._takes_batches = bool(answers)

        async def result(place: int) -> Any:
            answer = answers.get(requests[place]["id"], {})
            if "result" not in answer:
                method, params = calls[place]
                answer = dict(await self.make_request(RPCEndpoint(method), list(params)))
            if "result" not in answer:
                raise Web3RPCError("refused", rpc_response=answer)  # type: ignore[arg-type]  # an RPCResponse by its fields
            return answer["result"]

        results: list[Any] = []
        for start in range(0, len(calls), AT_ONCE):
            places = range(start, min(start + AT_ONCE, len(calls)))
            results += await asyncio.gather(*(result(place) for place in places))
        return results

    def _enough(self, tries: int, names_asked: set[str], until: float) -> bool:
        everywhere = len(names_asked) >= sum(node.wrong is None for node in self._endpoints)
        late = asyncio.get_running_loop().time() >= until
        return everywhere and (late or tries >= self._patience.tries)

    async def _post(self, endpoint: _Endpoint, data: bytes, timeout_s: float | None = None) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(raise_for_status=True)
        self._latest = endpoint
        timeout = aiohttp.ClientTimeout(total=timeout_s or self._timeout_s)
        # A redirect would lead to another node, which nobody configured.
        async with self._session.post(
            endpoint.url, data=data, headers=self.get_request_headers(), timeout=timeout, allow_redirects=False
        ) as response:
            answer = await response.read()
        if answer.lstrip()[:1] not in (b"{", b"["):
            kind = "a redirect" if 300 <= response.status < 400 else "something that is no JSON"
            raise NoJsonError(f"it answers with {kind}, HTTP {response.status}")
        return answer

    def _choose(self, names_asked: set[str], *, sending: bool = False) -> _Endpoint:
        """Return the first node that is well; else the one that failed the longest ago, and that was not asked just
        now.

        For a sending, return one that has not lost any, or whose last loss is the longest ago.
        """
        usable = [node for node in self._endpoints if node.wrong is None]
        if not usable:
            raise NoUsableNodeError(f"None of the chain's nodes can be used ({self.troubles()}).")
        now = asyncio.get_running_loop().time()
        return min(
            usable,
            key=lambda node: (
                node.name in names_asked,
                sending * node.lost_a_sending,
                not sending and node.doubted_until > now,
                max(0.0, node.rests_until - now),
            ),
        )

    def _let_rest(self, endpoint: _Endpoint, why: str) -> None:
        if self.several and endpoint.failed is None and endpoint.wrong is None:
            log.warning("The chain's node at %s is left out for a while: %s.", endpoint.name, why)
        endpoint.failed = why
        endpoint.rests_until = asyncio.get_running_loop().time() + self._patience.rest_s

    def _is_well(self, endpoint: _Endpoint) -> None:
        if self.several and (endpoint.failed or endpoint.wrong):
            log.info("The chain's node at %s is asked again.", endpoint.name)
        endpoint.failed = endpoint.wrong = None
        endpoint.rests_until = 0.0

    # ----------------------------------------------------------------- looking

    async def _look(self) -> None:
        """Compare the nodes with each other, now and then. A single one has nothing to be compared with."""
        if not self.several:
            return
        loop = asyncio.get_running_loop()
        async with self._looking:
            if loop.time() < self._look_again:
                return
            answers = await asyncio.gather(*(self._look_at(node) for node in self._endpoints))
            chains = [chain_id for chain_id in answers if chain_id is not None]
            if self._chain_id is None and chains:
                self._chain_id = chains[0]
            stamps = [node.stamp or 0 for node, chain in self._pairs(answers) if chain == self._chain_id]
            newest = max(stamps, default=0)
            for node, chain_id in self._pairs(answers):
                if chain_id is None:
                    continue
                behind = newest - (node.stamp or 0)
                if chain_id != self._chain_id:
                    self._leave_out(node, f"it serves chain {chain_id}, not {self._chain_id}")
                elif behind > self._patience.most_behind_s:
                    self._leave_out(node, f"its latest block is {behind} seconds behind the others'")
                else:
                    self._is_well(node)
            self._look_again = loop.time() + self._patience.look_every_s

    def _pairs(self, answers: Sequence[int | None]) -> list[tuple[_Endpoint, int | None]]:
        return list(zip(self._endpoints, answers, strict=True))

    async def _look_at(self, endpoint: _Endpoint) -> int | None:
        """Return the chain that a node serves, and store its latest block's time; None where it gives no answer."""
        try:
            chain_id = int(await self._ask(endpoint, "eth_chainId"), 16)
            endpoint.stamp = int((await self._ask(endpoint, "eth_getBlockByNumber", "latest", False))["timestamp"], 16)
        except FAILURES as error:
            self._let_rest(endpoint, _words(error))
            return None
        except (ValueError, TypeError, KeyError):
            self._let_rest(endpoint, "it answers with something that is no answer")
            return None
        return chain_id

    async def _ask(self, endpoint: _Endpoint, method: str, *params: object) -> Any:  # JSON, which the caller checks
        question = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        return json.loads(await self._post(endpoint, question, min(LOOK_S, self._timeout_s)))["result"]

    def _leave_out(self, endpoint: _Endpoint, why: str) -> None:
        if endpoint.wrong is None or endpoint.wrong.split()[:2] != why.split()[:2]:
            log.warning("The chain's node at %s is left out: %s.", endpoint.name, why)
        endpoint.wrong = why


def _by_id(answer: bytes) -> dict[object, dict[str, Any]]:
    """Return the answers of a batch by the ids of their requests; none where the answer is no batch."""
    parsed = json.loads(answer)
    if not isinstance(parsed, list):
        return {}
    return {each["id"]: each for each in parsed if isinstance(each, dict) and "id" in each}


def _words(error: BaseException) -> str:
    """Return a description of a failure, without the address that the library's own words would quote."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP {error.status}"
    return str(error) if isinstance(error, NoJsonError) else type(error).__name__


def _is_passing(method: str, answer: bytes) -> bool:
    """Return True if a read was declined for a reason that soon passes: then another node, or a moment, may help."""
    if len(answer) > 2_000 or b'"error"' not in answer or method == "eth_getLogs":  # logs: too many is no pause
        return False
    try:
        error = json.loads(answer)["error"]
        return error["code"] in BUSY or (error["code"] == INTERNAL and "revert" not in str(error.get("message")))
    except (ValueError, TypeError, KeyError):
        return False
