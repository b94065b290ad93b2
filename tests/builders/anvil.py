"""Foundry's anvil, a node whose chain can be bent: for tests of reorganisations, lost transactions and fees.

It comes from npm (`.ci/run` installs it into build/anvil); where it is not to be found, its tests are skipped.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from contracts.signers.keystore import KeySigner

ROOT = Path(__file__).parents[2]
MISSING = "anvil is not installed: npm install --prefix build/anvil @foundry-rs/anvil@1.7.1"
ETHER = 10**18


def anvil() -> Path | None:
    """The binary: on the PATH, or where `.ci/run` put it."""
    there = sorted((ROOT / "build" / "anvil").glob("node_modules/@foundry-rs/anvil-*/bin/anvil"))
    return Path(found) if (found := shutil.which("anvil")) else next(iter(there), None)


needs_anvil = pytest.mark.skipif(anvil() is None, reason=MISSING)


class Anvil:
    """A node of its own chain, with its state in a file. `rpc` asks it anything."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = 0
        self.account: LocalAccount = Account.create()
        self.start()

    def start(self) -> None:
        binary = anvil()
        assert binary is not None, MISSING
        command = [
            str(binary),
            "--port",
            str(self.port),
            "--accounts",
            "1",
            "--mnemonic-random",
            "--state",
            str(self.state),
        ]
        log = self.state.with_suffix(".log")  # it says a lot: a pipe that nobody reads would stop it
        with log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while (found := re.search(r"Listening on 127\.0\.0\.1:(\d+)", log.read_text())) is None:
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.02)
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()

    @property
    def signer(self) -> KeySigner:
        return KeySigner(self.account)

    async def rpc(self, method: str, *params: Any) -> Any:
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with aiohttp.ClientSession() as session, session.post(self.url, json=question) as response:
            told = await response.json()
        assert "error" not in told, told
        return told["result"]

    async def fresh(self) -> None:
        """A new account with ether, and a chain that mines what it is given at once, at an ordinary fee."""
        self.account = Account.create()
        await self.rpc("evm_setAutomine", True)
        await self.rpc("anvil_dropAllTransactions")
        await self.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
        await self.rpc("anvil_setBalance", self.account.address, hex(100 * ETHER))
        await self.keep_time()

    async def keep_time(self) -> None:
        """After reorganisations its clock may be behind ours."""
        now = int(time.time())
        if int((await self.rpc("eth_getBlockByNumber", "latest", False))["timestamp"], 16) < now:
            await self.rpc("evm_setTime", now)
        await self.mine()

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc("anvil_mine", hex(blocks))
