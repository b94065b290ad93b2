"""A world in which anything may go wrong, in any order: node, chain, key and relayer. At its end nothing is lost.

Blocks are made by us, one after each sending that arrives: a reorganisation that meets anvil's own miner at work
leaves a receipt whose effects are not there, which no chain does.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from bot.demo.faults import Rule
from contracts.audit.audit import audit
from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from contracts.relayer.relayer import Relayer
from contracts.rpc.endpoints import Patience
from contracts.rpc.node import LedgerError
from migrations.database import open_database
from tests.builders.accounts import member as account
from tests.builders.anvil import Anvil
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import ANVIL_SETTINGS, PEPPER, Community, ballots, forget_lease, relay_on_anvil
from tests.builders.relayer_process import STEPS, end, start

MEMBERS = 4
CHAIN = 31_337
GWEI = 10**9
QUICK = Patience(pause_s=0.001, rest_s=0.0)
SEND = "eth_sendRawTransaction"
LATE_S = 0.3  # an answer takes so much longer than anybody waits for it
TIMEOUT_S = 1.0
FAULTS: dict[str, dict[str, Any]] = {
    "cut before": {"fault": "cut", "method": SEND},
    "cut after": {"fault": "cut", "method": SEND, "after": True},
    "too low": {"fault": "rpc_error", "method": SEND},
    "accepted, said to be known": {"fault": "rpc_error", "method": SEND, "after": True, "message": "already known"},
    "429": {"fault": "http_error", "status": 429, "count": 12},
    "502 after": {"fault": "http_error", "status": 502, "method": SEND, "after": True},
    "no receipts": {"fault": "http_error", "status": 503, "method": "eth_getTransactionReceipt", "count": 6},
    "internal": {"fault": "rpc_error", "code": -32603, "message": "internal error", "rate": 0.2, "count": 6},
    "late": {"fault": "slow", "method": SEND, "after": True, "seconds": TIMEOUT_S + LATE_S},
}
# What may happen, and for each argument what it may be.
ACTIONS: dict[str, tuple[Sequence[Any], ...]] = {
    "vote": (range(1, MEMBERS + 1), range(3)),
    "link": (range(1, MEMBERS + 1),),
    "unlink": (range(1, MEMBERS + 1),),
    "tick": (range(1, 4),),
    "mine": (range(1, 4),),
    "reorg": (range(1, 5),),
    "fault": (sorted(FAULTS),),
    "stale": (),
    "other": (),
    "heal": (),
    "hold": (),
    "go": (),
    "dear": (),
    "cheap": (),
    "drop": (),
    "foreign": (),
    "restart": (),
    "reboot": (),
    "kill": (STEPS,),
}
OFTEN = ("vote", "tick", "fault", "reorg")
SLOW = ("reboot", "kill")  # each takes a second or two


def schedule(draw: random.Random, length: int, slow: Sequence[str] = SLOW) -> list[tuple[Any, ...]]:
    """A schedule: before each thing that happens somebody votes, and after it the relayer works."""
    names = [*(name for name in ACTIONS if name not in ("vote", "tick", *SLOW)), "fault", "reorg", "reorg", *slow]
    played: list[tuple[Any, ...]] = []
    for _ in range(length):
        for name in ("vote", draw.choice(names), "tick"):
            arguments = [draw.choice(choices) for choices in ACTIONS[name]]
            played += [(name, *arguments)]
    return played


class World:
    """A community, its relayer, a node with faults, and a chain that can be bent.

    `survived` counts what really struck, by kind, once `play` has found that nothing was lost.
    """

    def __init__(self, anvil: Anvil, folder: Path, confirmations: int) -> None:
        self.anvil = anvil
        self.folder = folder
        self.settings = replace(ANVIL_SETTINGS, confirmations=confirmations, chain_id=CHAIN)
        self.choices = dict.fromkeys(range(1, MEMBERS + 1), 0)
        self.wallets: dict[int, LocalAccount] = {}
        self.gone: set[int] = set()  # who unlinked, and so votes no more in this round
        self.survived: Counter[str] = Counter()
        self._mines = True
        self._rules: list[tuple[str, Rule]] = []
        self._lasts: set[str] = set()  # what is out of order and has met no work of the relayer yet

    async def play(self, actions: Sequence[tuple[Any, ...]]) -> None:
        engine = open_database(f"sqlite:///{self.folder}/flock.db")
        try:
            await self._play(Community(engine), actions)
        finally:
            await engine.dispose()

    async def _play(self, community: Community, actions: Sequence[tuple[Any, ...]]) -> None:
        self.community = community
        await self.anvil.fresh()
        deployment = await deploy(self.anvil.url, self.anvil.signer, self.folder / "ledger.json")
        await self.anvil.rpc("evm_setAutomine", False)
        await self.anvil.mine(8)
        async with (
            FaultProxy(self.anvil.url, self._arrived) as self.proxy,
            Ledger(self.proxy.url, deployment.address, timeout_s=TIMEOUT_S) as self.ledger,
            Ledger(self.anvil.url, deployment.address) as truth,
        ):
            self.ledger.node._provider._patience = QUICK
            self.begin()
            round_id = await self.community.round(seconds=10**6)
            await self.community.video(round_id, "a")
            await relay_on_anvil(self.relayer, self.anvil)  # nobody can sign about a video that is not on the chain yet
            for name, *arguments in actions:
                if name in ("vote", "link", "unlink"):
                    await getattr(self, name)(truth, round_id, *arguments)
                else:
                    await getattr(self, name)(*arguments)
            await self.heal()
            await self.cheap()
            await self.go()
            await self.anvil.keep_time()
            await relay_on_anvil(self.relayer, self.anvil)
            await self.check(truth)

    async def vote(self, truth: Ledger, round_id: int, member: int, choice: int) -> None:
        """By the buttons, or what the wallet signs; the bot refuses those who unlinked."""
        if member in self.gone:
            return
        self.choices[member] = choice
        if member in self.wallets:
            await self.community.ballot(truth, round_id, member, self.wallets[member], {"a": choice})
        else:
            await self.community.vote(round_id, "a", (member, choice))

    async def link(self, truth: Ledger, _round_id: int, member: int) -> None:
        if member not in self.wallets:
            self.wallets[member] = account(member)
            self.gone.discard(member)
            await self.community.link(truth, member, self.wallets[member])

    async def unlink(self, truth: Ledger, _round_id: int, member: int) -> None:
        if member in self.wallets:
            await self.community.unlink(truth, member, self.wallets.pop(member))
            self.gone.add(member)

    async def check(self, truth: Ledger) -> None:
        assert set(await self.community.states()) <= {"final", "superseded"}
        assert await ballots(truth, 1, MEMBERS) == list(self.choices.values())
        final = [row for row in await self.community.sent("votes") if row.state == "final"]
        assert sorted(row.seq for row in final) == list(range(await truth.seq()))
        placed = [(row.block_number, row.nonce) for row in sorted(final, key=lambda row: int(row.seq))]
        assert placed == sorted(placed)
        report = await audit(self.anvil.url, truth.address, database=self.community.engine, pepper=PEPPER)
        assert report.ok, report.problems

    async def _arrived(self) -> None:
        """The node took a transaction."""
        if self._mines:
            await self.anvil.mine()

    async def _works(self) -> bool:
        return (await self.relayer.status()).backlog > 0

    # ------------------------------------------------------------- the relayer

    def begin(self) -> None:
        self.relayer = Relayer(self.community.engine, self.ledger, self.anvil.signer, self.settings)

    async def tick(self, times: int) -> None:
        if self._lasts and await self._works():
            self.survived.update(self._lasts)
            self._lasts.clear()
        for _ in range(times):
            try:
                await self.relayer.tick()
            except LedgerError:
                self.relayer._in_trouble("trouble", 0.0)

    async def restart(self) -> None:
        """A new relayer, which knows nothing but what is stored."""
        self.survived["relayer replaced"] += await self._works()
        await forget_lease(self.community.engine)
        self.begin()

    async def kill(self, step: str) -> None:
        """A relayer as a process of its own, killed at a step of its next batch, or wherever it then hangs."""
        key = self.folder / "relayer.key"
        key.touch(0o600)
        key.write_text(bytes(self.anvil.account.key).hex())
        await forget_lease(self.community.engine)
        process = start(
            {
                "database": f"sqlite:///{self.community.engine.url.database}", "url": self.proxy.url,
                "ledger": self.ledger.address, "key": str(key), "step": step, "kind": "votes", "patient": True,
                "chain_id": CHAIN, "confirmations": self.settings.confirmations,
            }
        )  # fmt: skip
        try:
            status, _, errors = await end(process, seconds=15)
        except subprocess.TimeoutExpired:
            process.kill()
            status, _, errors = await end(process)
        assert status in (0, -signal.SIGKILL), errors
        self.survived["SIGKILL " + step] += status != 0
        await forget_lease(self.community.engine)
        self.begin()

    # --------------------------------------------------------------- the chain

    async def mine(self, blocks: int) -> None:
        await self.anvil.mine(blocks)

    async def reorg(self, depth: int) -> None:
        head = int(await self.anvil.rpc("eth_blockNumber"), 16)
        numbers = [hex(number) for number in range(head - depth + 1, head + 1)]
        lost = [await self.anvil.rpc("eth_getBlockTransactionCountByNumber", number) for number in numbers]
        await self.anvil.rpc("anvil_reorg", depth, [])
        self.survived[f"reorganisation of {depth}"] += set(lost) != {"0x0"}

    async def drop(self) -> None:
        waiting = await self.anvil.rpc("txpool_status")
        await self.anvil.rpc("anvil_dropAllTransactions")
        self.survived["dropped transactions"] += waiting != {"pending": "0x0", "queued": "0x0"}

    async def foreign(self) -> None:
        """Another program with the same key takes the number that is due, before ours."""
        await self.anvil.rpc("anvil_dropAllTransactions")
        me = self.anvil.account.address
        nonce = int(await self.anvil.rpc("eth_getTransactionCount", me, "latest"), 16)
        call = {
            "chainId": CHAIN, "nonce": nonce, "to": "0x" + "99" * 20, "data": b"", "value": 0, "gas": 21_000,
            "maxFeePerGas": 1_000 * GWEI, "maxPriorityFeePerGas": GWEI,
        }  # fmt: skip
        signed = self.anvil.account.sign_transaction(call)
        await self.anvil.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        await self.anvil.mine()
        self.survived["foreign use of the key"] += 1

    async def dear(self) -> None:
        await self.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * GWEI))
        self._lasts.add("base fee ×20")

    async def cheap(self) -> None:
        await self.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        self._lasts.discard("base fee ×20")

    async def hold(self) -> None:
        self._mines = False
        self._lasts.add("no blocks")

    async def go(self) -> None:
        self._mines = True
        self._lasts.discard("no blocks")

    # ---------------------------------------------------------------- the node

    async def fault(self, which: str) -> None:
        fault = dict(FAULTS[which])
        self._rules.append((which, self.proxy.add(fault.pop("fault"), **fault)))

    async def stale(self) -> None:
        """The node falls some blocks behind."""
        self.proxy.stale = int(await self.anvil.rpc("eth_blockNumber"), 16) - 2

    async def other(self) -> None:
        self.proxy.chain_id = 5

    async def heal(self) -> None:
        self.survived.update(which for which, rule in self._rules if rule.look()["done"])
        self.survived.update(self.proxy.lied)
        self._rules.clear()
        self.proxy.heal()

    async def reboot(self) -> None:
        """The node is started anew: it has the chain, and forgot what waited."""
        await asyncio.to_thread(self.anvil.stop)
        await asyncio.to_thread(self.anvil.start)
        await self.anvil.rpc("evm_setAutomine", False)
        await self.anvil.mine(4)  # it has no states of older blocks to which a reorganisation could go back
        self.survived["node restarted"] += 1
