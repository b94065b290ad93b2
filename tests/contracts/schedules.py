"""A world in which anything may go wrong, in any order: node, chain, key and relayer. At its end nothing is lost."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from contracts.audit import audit
from contracts.deploy import deploy
from contracts.endpoints import Patience
from contracts.ledger import Ledger
from contracts.node import LedgerError, Node, NodeRefusedError
from contracts.relayer import Relayer
from migrations.database import open_database
from tests.contracts.accounts import member as account
from tests.contracts.anvil import Anvil
from tests.contracts.proxy import FaultProxy
from tests.contracts.test_relayer import PEPPER, Community, ballots, by_hand, forget_lease
from tests.contracts.test_reorgs import SETTINGS, finish

MEMBERS = 4
QUICK = Patience(pause_s=0.001, rest_s=0.0)
SEND = "eth_sendRawTransaction"
FAULTS: dict[str, dict[str, Any]] = {
    "cut before": {"fault": "cut", "method": SEND},
    "cut after": {"fault": "cut", "method": SEND, "after": True},
    "too low": {"fault": "rpc_error", "method": SEND},
    "accepted, said to be known": {"fault": "rpc_error", "method": SEND, "after": True, "message": "already known"},
    "429": {"fault": "http_error", "status": 429, "count": 12},
    "502 after": {"fault": "http_error", "status": 502, "method": SEND, "after": True},
    "no receipts": {"fault": "http_error", "status": 503, "method": "eth_getTransactionReceipt", "count": 6},
    "internal": {"fault": "rpc_error", "code": -32603, "message": "internal error", "rate": 0.2, "count": 6},
}


class World:
    """A community, its relayer, a node with faults, and a chain that can be bent."""

    def __init__(self, anvil: Anvil, folder: Path, confirmations: int) -> None:
        self.anvil = anvil
        self.folder = folder
        self.settings = replace(SETTINGS, confirmations=confirmations, chain_id=31_337)
        self.choices = dict.fromkeys(range(1, MEMBERS + 1), 0)
        self.wallets: dict[int, LocalAccount] = {}
        self.gone: set[int] = set()  # who unlinked, and so votes no more in this round

    async def play(self, actions: list[tuple[Any, ...]]) -> None:
        engine = open_database(f"sqlite:///{self.folder}/flock.db")
        try:
            await self._play(Community(engine), actions)
        finally:
            await engine.dispose()

    async def _play(self, community: Community, actions: list[tuple[Any, ...]]) -> None:
        self.community = community
        await self.anvil.fresh()
        deployment = await deploy(self.anvil.url, self.anvil.signer, self.folder / "ledger.json")
        await self.anvil.mine(8)
        async with (
            FaultProxy(self.anvil.url) as self.proxy,
            Ledger(self.proxy.url, deployment.address) as self.ledger,
            Ledger(self.anvil.url, deployment.address) as truth,
        ):
            self.ledger.node._provider._patience = QUICK
            self.begin()
            round_id = await self.community.round(seconds=10**6)
            await self.community.video(round_id, "a")
            await finish(self.relayer, self.anvil)  # nobody can sign about a video that is not on the chain yet
            for name, *arguments in actions:
                if name in ("vote", "link", "unlink"):
                    await getattr(self, name)(truth, round_id, *arguments)
                else:
                    await getattr(self, name)(*arguments)
            await self.heal()
            await self.cheap()
            await self.go()
            await self.anvil.keep_time()
            await finish(self.relayer, self.anvil)
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

    def begin(self) -> None:
        self.relayer = Relayer(self.community.engine, self.ledger, self.anvil.signer, self.settings)

    async def tick(self, times: int) -> None:
        for _ in range(times):
            try:
                await self.relayer.tick()
            except LedgerError:
                self.relayer._in_trouble("trouble", 0.0)

    async def restart(self) -> None:
        await forget_lease(self.community.engine)
        self.begin()

    async def reorg(self, depth: int) -> None:
        await self.anvil.rpc("anvil_reorg", depth, [])

    async def mine(self, blocks: int) -> None:
        await self.anvil.mine(blocks)

    async def fault(self, which: str) -> None:
        fault = dict(FAULTS[which])
        self.proxy.add(fault.pop("fault"), **fault)

    async def drop(self) -> None:
        await self.anvil.rpc("anvil_dropAllTransactions")

    async def foreign(self) -> None:
        """Another program with the same key, where the fee allows it."""
        node = Node(self.anvil.url)
        try:
            await self.anvil.rpc("evm_setAutomine", True)
            await self.anvil.rpc("anvil_dropAllTransactions")
            async with Ledger(self.anvil.url, self.ledger.address) as direct:
                with contextlib.suppress(NodeRefusedError):  # its fee was too low
                    await by_hand(direct, self.anvil, b"", to="0x" + "99" * 20)
        finally:
            await node.close()

    async def dear(self) -> None:
        await self.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * 10**9))

    async def cheap(self) -> None:
        await self.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))

    async def hold(self) -> None:
        await self.anvil.rpc("evm_setAutomine", False)

    async def go(self) -> None:
        await self.anvil.rpc("evm_setAutomine", True)

    async def stale(self) -> None:
        """The node falls some blocks behind."""
        async with Ledger(self.anvil.url, self.ledger.address) as direct:
            self.proxy.stale = await direct.node.block_number() - 2

    async def other(self) -> None:
        self.proxy.chain_id = 5

    async def heal(self) -> None:
        self.proxy.heal()
