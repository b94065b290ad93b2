"""A node of a chain in this process, honest but for the lies that a test has it tell; a history with every event.

It answers from memory what it was asked before, so that many auditors may ask it much.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from aiohttp import web
from eth_abi.abi import decode, encode
from eth_utils.abi import event_abi_to_log_topic
from web3 import Web3

from bot.demo.chain.blockstore import ChainError
from bot.demo.chain.methods import Methods
from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.batch_codec import Ballot, encode_arrivals
from contracts.ledger.typed_data import ballot_message, unlink_message
from contracts.manifests import sides_hash
from tests.builders.accounts import member, sign
from tests.builders.ledger_bench import Bench

Logs: TypeAlias = list[dict[str, Any]]  # as `eth_getLogs` answers
EVENTS = {abi["name"]: abi for abi in ledger_artefact().abi if abi["type"] == "event"}
TOPICS = {"0x" + bytes(event_abi_to_log_topic(abi)).hex(): name for name, abi in EVENTS.items()}  # type: ignore[arg-type]  # an event of our ABI


class LyingNode:
    """A node at a URL, and by `ask` without one. `lie` changes its log; `answers` replace those to whole methods."""

    def __init__(self, bench: Bench) -> None:
        self.methods = Methods(bench.blocks)
        self.lie: Callable[[Logs], Logs] | None = None
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.batches = True
        self.seen: Counter[str] = Counter()  # calls, and requests under ""
        self._known: dict[str, Any] = {}

    async def __aenter__(self) -> LyingNode:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def forget(self) -> None:
        """Look everything up anew: the chain goes on."""
        self._known.clear()

    def ask(self, calls: Sequence[tuple[str, Any]]) -> list[Any]:
        """Answer calls in order. Raises ChainError where one is refused."""
        return [self._answer(method, list(params)) for method, params in calls]

    def _answer(self, method: str, params: list[Any]) -> Any:
        self.seen[method] += 1
        key = json.dumps([method, params])
        if key not in self._known:
            self._known[key] = self.methods.run(method, params)
        answer = copy.deepcopy(self._known[key])
        if method == "eth_getLogs" and self.lie is not None:
            answer = self.lie(answer)
        return self.answers[method](answer) if method in self.answers else answer

    async def _handle(self, request: web.Request) -> web.Response:
        self.seen[""] += 1
        body = await request.json()
        if not isinstance(body, list):
            return web.json_response(self._reply(body))
        if not self.batches:
            return web.Response(status=400, text="no batches")
        return web.json_response([self._reply(call) for call in body])

    def _reply(self, call: dict[str, Any]) -> dict[str, Any]:
        about = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            return about | {"result": self._answer(call["method"], call["params"])}
        except ChainError as error:
            return about | {"error": {"code": error.code, "message": str(error)}}


# --------------------------------------------------------------------- lies about one event


def name_of(log: dict[str, Any]) -> str:
    return TOPICS[log["topics"][0]]


def fields_of(name: str) -> list[str]:
    return [field["name"] for field in EVENTS[name]["inputs"]]


def dropped(name: str) -> Callable[[Logs], Logs]:
    """Leave out the second event of a name."""
    return lambda logs: [log for log in logs if log is not second(logs, name)]


def doubled(name: str) -> Callable[[Logs], Logs]:
    """Tell the second event of a name twice, the second time in a place of its own."""

    def lie(logs: Logs) -> Logs:
        at = logs.index(second(logs, name))
        told = [*logs[: at + 1], copy.deepcopy(logs[at]), *logs[at + 1 :]]
        for log in told[at + 1 :]:
            if log["blockNumber"] == logs[at]["blockNumber"]:
                log["logIndex"] = hex(int(log["logIndex"], 16) + 1)
        return told

    return lie


def swapped(name: str) -> Callable[[Logs], Logs]:
    """Exchange what two events of a name say; their places stay."""

    def lie(logs: Logs) -> Logs:
        first, other = [log for log in logs if name_of(log) == name][:2]
        for part in ("topics", "data"):
            first[part], other[part] = other[part], first[part]
        return logs

    return lie


def changed(name: str, field: str) -> Callable[[Logs], Logs]:
    """Change a field of the second event of a name."""

    def lie(logs: Logs) -> Logs:
        log, inputs = second(logs, name), EVENTS[name]["inputs"]
        indexed = [each for each in inputs if each["indexed"]]
        others = [each for each in inputs if not each["indexed"]]
        types = [_type(each) for each in others]
        values = dict(
            zip([each["name"] for each in others], decode(types, bytes.fromhex(log["data"][2:])), strict=True)
        )
        for place, each in enumerate(indexed, 1):
            if each["name"] == field:
                log["topics"][place] = f"0x{int(log['topics'][place], 16) ^ 1:064x}"
        if field in values:
            values[field] = _other(values[field])
            log["data"] = "0x" + encode(types, [values[each["name"]] for each in others]).hex()
        return logs

    return lie


def cut_short(name: str) -> Callable[[Logs], Logs]:
    """Leave out the end of the second event of a name."""

    def lie(logs: Logs) -> Logs:
        log = second(logs, name)
        log["data"], log["topics"] = (
            (log["data"][:-64], log["topics"]) if log["data"] != "0x" else ("0x", log["topics"][:-1])
        )
        return logs

    return lie


def renamed(name: str) -> Callable[[Logs], Logs]:
    """Make the second event of a name one that the contract does not have."""

    def lie(logs: Logs) -> Logs:
        second(logs, name)["topics"][0] = "0x" + "ab" * 32
        return logs

    return lie


def second(logs: Logs, name: str) -> dict[str, Any]:
    """Return the second event of a name: of some, later ones take back what it did."""
    return [log for log in logs if name_of(log) == name][1]


def _type(field: dict[str, Any]) -> str:
    if not field["type"].startswith("tuple"):
        return str(field["type"])
    return f"({','.join(each['type'] for each in field['components'])}){field['type'].removeprefix('tuple')}"


def _other(value: Any) -> Any:
    """Return another value of the same type: of a list, its first member is another."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    if isinstance(value, str):
        return "0x" + "ab" * 20 if value.startswith("0x") else value + "x"
    members = list(value)
    return [_other(members[0]), *members[1:]] if members else [1]


# --------------------------------------------------------------------- a history


def every_event(bench: Bench) -> None:
    """Write a history with at least two events of each kind; where roles change, a later one takes the second back."""
    owner, guardian, relayer, other = bench.owner, bench.guardian, bench.relayer, bench.stranger

    def do(who: Any, function: str, *args: Any) -> None:
        bench.now += 5
        bench.do(who, function, *args)

    for allowed in (True, False):
        do(owner, "set_relayer", other.address, allowed)
    for account in (other, guardian):
        do(owner, "set_guardian", account.address)
    for who, function in ((guardian, "pause"), (owner, "unpause"), (owner, "pause"), (owner, "unpause")):
        do(who, function)
    for old, new in ((owner, other), (other, owner)):
        do(old, "transfer_ownership", new.address)
        do(new, "accept_ownership")
    for account in (other, guardian):
        do(owner, "transfer_ownership", account.address)
    _vote(bench, do)
    for kind, root, parent in ((1, b"d" * 32, 0), (1, b"e" * 32, 1), (2, b"r" * 32, 0)):
        do(relayer, "commit", kind, root, parent, b"m" * 32)


def _vote(bench: Bench, do: Callable[..., None]) -> None:
    """Two rounds with videos, battles, voters, wallets, and their ends."""
    relayer, wallets = bench.relayer, [member(number) for number in (1, 2, 3, 4)]
    first, battle = 1 << 10 | 1, 1 << 10 | 3
    models, until = (b"1" * 32, b"2" * 32), bench.now + 10_000
    for key in (b"r", b"s"):
        do(relayer, "open_round", key * 32, bench.now, bench.now + 9_000, 60, key * 32)
    for number, key in ((1, b"v"), (1, b"w"), (2, b"x")):
        video = (key * 32, number, b"p" * 32, b"c" * 31 + key, b"o" * 32, "play" + key.decode())
        do(relayer, "add_video", *video)
    for key in (b"b", b"c"):
        sides = sides_hash(*models, key * 32)
        do(relayer, "add_battle", key * 32, 1, b"p" * 32, b"a" * 32, b"b" * 31 + key, sides)
    for names in ([1, 2, 3], [4, 5, 6]):
        do(relayer, "register", [name.to_bytes(32, "big") for name in names])
    bench.vote(
        [Ballot(first, 0, 1), Ballot(first, 1, 1), Ballot(first + 1, 2, 2), Ballot(battle, 0, 3)], [1, 2, 3], [battle]
    )
    bench.now += 5
    bench.vote([Ballot(first, 2, 2), Ballot(battle, 3, 1), Ballot(battle + 1, 3, 2)], [4], [battle, battle + 1])
    for voter, wallet in zip((5, 6, 1, 2), wallets, strict=True):
        bench.now += 5
        bench.link(voter, wallet)
    for nonce in (2, 4):
        message = unlink_message(bench.domain, wallets[1].address, (6).to_bytes(32, "big"), nonce, until)
        do(relayer, "unlink", (6).to_bytes(32, "big"), nonce, until, sign(wallets[1], message))
        if nonce == 2:
            bench.link(6, wallets[1], 3)
    for seat in (0, 1):
        do(relayer, "claim", 1, seat, 0, encode_arrivals([1, 2, 3]))
    for wallet, nonce, choices in ((wallets[0], 2, [(first, 2), (battle, 2)]), (wallets[2], 2, [(first, 2)])):
        signature = sign(wallet, ballot_message(bench.domain, wallet.address, 1, choices, nonce, until))
        do(relayer, "cast_signed", wallet.address, 1, choices, nonce, until, signature)
    for number in (1, 2):
        do(relayer, "close_round", number)
    for number in (1, 2):
        do(bench.stranger, "finalize", number)
    for place, key in ((battle, b"b"), (battle + 1, b"c")):
        do(relayer, "reveal_battle", place, *models, key * 32)


def creation_code(roles: Sequence[str]) -> bytes:
    """Return the genuine creation code with three roles."""
    made = Web3().eth.contract(abi=ledger_artefact().abi, bytecode=ledger_artefact().bytecode).constructor(*roles)
    return bytes.fromhex(made.data_in_transaction[2:])
