"""The embedded chain as a process, over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp

from contracts.signers.keystore import KeySigner, open_key_file


class ChainProcess:
    """The embedded chain as a user starts it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "bot.demo.chain", "--port", str(self.port), "--state", str(self.state)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())
        self.port = self.ready["port"]
        self.url = self.ready["url"]

    @property
    def signer(self) -> KeySigner:
        return open_key_file(Path(self.ready["key_file"]))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stops the process; gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


async def ask(url: str, method: str, *params: Any) -> Any:
    """Ask a node; return the result, or the error."""
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        answer = await response.json()
    assert answer["id"] == 7
    return answer.get("error", answer.get("result"))
