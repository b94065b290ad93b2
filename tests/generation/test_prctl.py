"""The promises of the kernel for a process, each asked of a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from generation.prctl import is_hidden

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has prctl")


def run(script: str) -> str:
    """The output of a script in a process of its own."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_a_process_hides_itself_and_its_children_do_not() -> None:
    """It is a matter of the process that holds secrets: a program that it starts begins as any other."""
    script = "from generation.prctl import *; print(is_hidden()); hide_from_others(); print(is_hidden(), flush=True)"
    script += "; import subprocess, sys; subprocess.run([sys.executable, '-c', 'import generation.prctl as p; "
    script += "print(p.is_hidden())'])"
    assert run(script).split() == ["False", "True", "False"]


def test_this_process_is_not_hidden() -> None:
    assert not is_hidden()


def test_a_child_dies_with_its_parent() -> None:
    """Whatever ends the parent: here it kills itself, and its child's end closes the pipe that both hold."""
    script = (
        "import os, signal, time\n"
        "from generation.prctl import die_with_parent\n"
        "ready, go = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    die_with_parent(); os.write(go, b'x'); time.sleep(600)\n"
        "os.read(ready, 1); print('parent', flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (process.returncode, process.stdout.strip()) == (-9, "parent")
