"""`flock demo` as a user runs it: one JSON object, an honest exit code, and a state that goes on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot", "demo", *arguments], capture_output=True, text=True, timeout=300, check=False
    )


def left_behind(state: Path) -> list[str]:
    """Command lines of processes that still work on a state."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            environ = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(entry.name) != os.getpid() and (str(state) in line or f"{state}/" in environ):
            found.append(line)
    return found


@dataclass(frozen=True)
class Life:
    """A state that lived through the demo twice, and both runs."""

    state: Path
    runs: list[subprocess.CompletedProcess[str]]


ASKED = (["a red circle", "a blue square"], ["<b>a green star</b> & more"])


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Run the demo twice on the same state, for all tests that look at what it printed and left."""
    state, runs = tmp_path_factory.mktemp("demo") / "state", []
    for prompts in ASKED:
        arguments = [part for prompt in prompts for part in ("--prompt", prompt)]
        runs.append(demo("--once", "--json", "--state", str(state), *arguments))
        assert runs[-1].returncode == 0, runs[-1].stderr[-3000:]
    return Life(state, runs)


def test_the_demo_prints_one_json_object_and_goes_on_from_its_state(life: Life) -> None:
    """Twice on the same state: rounds 1 and 2 on one chain; stdout is JSON alone, the story is on stderr."""
    for number, (prompts, run) in enumerate(zip(ASKED, life.runs, strict=True), start=1):
        result = json.loads(run.stdout)
        assert run.stdout.count("\n") == 1
        assert set(result) == {"round", "videos", "audit", "seconds"}
        assert result["round"]["number"] == result["round"]["chain"]["round"] == number
        assert [video["prompt"] for video in result["videos"]] == prompts
        for video in result["videos"]:
            assert hashlib.sha256(Path(video["video_path"]).read_bytes()).hexdigest() == video["sha256"]
            assert video["playback_id"] in video["page_url"]
            assert video["playback_url"].startswith("http://127.0.0.1:")
            assert video["message_id"].isdigit()
            assert video["thread_id"] == result["round"]["thread_id"]
            assert video["votes"] == {"up": video["chain"]["up"], "down": video["chain"]["down"]}
            assert all(tx.startswith("0x") and len(tx) == 66 for tx in video["chain"]["tx"])
            assert len(video["chain"]["tx"]) >= 2
        votes = sum(sum(video["votes"].values()) for video in result["videos"])
        assert result["audit"]["ok"] is True
        assert result["audit"]["votes"] == votes > 0
        assert result["seconds"]["total"] > 0
        assert "presses 👍" in run.stderr
        assert "You can join" not in run.stderr  # nobody can: it ends after the story
    assert left_behind(life.state) == []


def test_a_prompt_that_the_bot_refuses_ends_the_demo_with_its_sentence(tmp_path: Path) -> None:
    """No traceback, no JSON: the bot's own words, and exit code 1."""
    run = demo("--once", "--json", "--state", str(tmp_path / "state"), "--prompt", "\u200b")
    assert run.returncode == 1
    assert run.stdout == ""
    assert "at least 3 visible characters" in run.stderr
    assert "Traceback" not in run.stderr
    assert left_behind(tmp_path / "state") == []


def test_secrets_of_the_demo_are_in_no_log(life: Life) -> None:
    """Tokens and keys of a state are in its key files alone, which only their owner can read."""
    state = life.state
    keys = json.loads((state / "demo.json").read_text())
    secrets = [keys[name] for name in ("bot_token", "control_token", "host_key", "pepper")]
    secrets.append((state / "chain" / "dev.key").read_text().strip().removeprefix("0x"))
    for path in (state / "demo.json", state / "chain" / "dev.key", state / "flock.db"):
        assert path.stat().st_mode & 0o077 == 0, path
    printed = "".join(run.stdout + run.stderr for run in life.runs)
    text = printed + "".join(log.read_text() for log in (state / "logs").glob("*.log"))
    for secret in secrets:
        assert secret not in text
    assert httpx.__name__ not in text  # at INFO it would log addresses that are credentials
