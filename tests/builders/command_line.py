"""The `flock` command in a process of its own, with settings that a test makes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

SECRETS = {
    "FLOCK_DISCORD_TOKEN": "secret-token-1",
    "FLOCK_LIVEPEER_API_KEY": "secret-key-2",
    "FLOCK_VOTER_PEPPER": "secret-pepper-3-" + "x" * 32,
}


def free_port() -> int:
    """Return a loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def flock(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a folder, with no settings but these."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**kept, **settings},
    )


def complete(folder: Path) -> dict[str, str]:
    """Return settings with which `flock run` would start, if anything answered at its addresses."""
    key = folder / "key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    nobody = f"http://127.0.0.1:{free_port()}"
    return {
        **SECRETS,
        "FLOCK_DISCORD_API_BASE": f"{nobody}/api/v10",
        "FLOCK_LIVEPEER_API_BASE": f"{nobody}/api",
        "FLOCK_RPC_URL": nobody,
        "FLOCK_LEDGER_ADDRESS": "0x" + "1" * 40,
        "FLOCK_KEYSTORE": str(key),
    }


def plain(run: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    """Assert that it failed with a sentence that has these words: no traceback, no secret."""
    assert run.returncode == code, run.stderr
    text = run.stdout + run.stderr
    for word in words:
        assert word in text, text
    assert "Traceback" not in text
    for secret in SECRETS.values():
        assert secret not in text
