"""Video hosts for tests: the embedded one as a process of its own, to be killed, and brisk polling of any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from bot.demo.host.__main__ import KEY_VARIABLE
from generation.hosting.host import Polling

BRISK = Polling(first_s=0.02, longest_s=0.1, deadline_s=15.0, mp4_every_s=0.05, mp4_grace_s=3.0, missing_grace_s=3.0)


class HostProcess:
    """The embedded host as the demo starts it: a process of its own, which can be killed and started again."""

    def __init__(self, state: Path, key: str) -> None:
        self.state, self.key, self.port, self.haste = state, key, 0, 200
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "bot.demo.host", "--state", str(self.state)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--watch-stdin", "--haste", str(self.haste)],
            env={**os.environ, KEY_VARIABLE: self.key},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        assert ready["ready"] is True
        self.port = ready["port"]

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        code = self.process.wait(timeout=60)
        self.process.stdin.close()
        self.process.stdout.close()
        return code

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"
