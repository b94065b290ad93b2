"""Signs of life: real progress gives them, and nothing else does."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from generation.models.registry import Model
from generation.render.heartbeat import LEAST_BYTES, Heartbeat
from generation.render_messages import LoadModel, ModelLoaded
from generation.worker.render_process import RenderChild
from generation.worker.render_protocol import ChildProcess, RenderError

PRESET = {"family": "f", "width": 8, "height": 8, "frames": 9, "fps": 8, "steps": 1, "guidance": 1.0}
MODEL = {"model_id": "m", "revision": "r", "preset": PRESET, "device": "cpu", "settings": {}, "can": {}}
SPEAKER = f"""
import json, sys, time
MODEL = {MODEL!r}
number = json.loads(sys.stdin.readline())["number"]
for _ in range(int(sys.argv[1])):
    print(json.dumps({{"kind": "alive", "number": number}}), flush=True)
    time.sleep(0.5)
time.sleep(float(sys.argv[2]))
print(json.dumps({{"kind": "loaded", "number": number, "model": MODEL}}), flush=True)
sys.stdin.readline()
"""


class Signs:
    def __init__(self) -> None:
        self.count = 0
        self.heartbeat = Heartbeat(self._sign, every_s=0.05)

    def _sign(self) -> None:
        self.count += 1

    def within(self, seconds: float) -> int:
        before = self.count
        time.sleep(seconds)
        return self.count - before


def test_layers_that_return_are_signs_of_life() -> None:
    """While a decoder works its way through its layers; none while one of them hangs, however busy the process is.
    What is compiled is left alone: it has an allowance of its own."""
    stuck, go = threading.Event(), threading.Event()

    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            if stuck.is_set():
                go.wait()
            return x

    signs = Signs()
    vae, transformer = torch.nn.Sequential(*[Layer() for _ in range(500)]), torch.nn.Sequential(Layer())
    parts = {"vae": vae, "transformer": transformer, "scheduler": object()}
    signs.heartbeat.watch(SimpleNamespace(components=parts), compiled=True)
    working = threading.Thread(target=vae, args=(torch.zeros(1),))
    working.start()
    assert signs.within(1.0) > 1
    stuck.set()
    time.sleep(0.3)
    assert signs.within(1.0) == 0
    stuck.clear()
    go.set()
    working.join()
    time.sleep(0.2)
    transformer(torch.zeros(1))
    assert signs.within(0.5) == 0
    signs.heartbeat.watch(SimpleNamespace(components=parts), compiled=False)
    transformer(torch.zeros(1))
    assert signs.within(0.5) == 1


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux tells what a process reads and writes")
def test_bytes_that_come_along_are_signs_of_life_while_a_model_is_loaded(tmp_path: Path) -> None:
    """A file that grows is a download under way. The twins: a render writes files too, and a log is no progress."""
    signs = Signs()

    def fetch(size: int) -> None:
        with (tmp_path / "weights").open("ab", buffering=0) as file:
            file.write(b"x" * size)

    fetch(2 * LEAST_BYTES)
    assert signs.within(0.3) == 0
    signs.heartbeat.loading = True
    assert signs.within(0.3) == 1  # what was read until now
    fetch(2 * LEAST_BYTES)
    assert signs.within(0.3) == 1
    fetch(LEAST_BYTES // 100)
    assert signs.within(0.3) == 0


@pytest.mark.parametrize(("signs", "silence", "well"), [(8, 0.0, True), (0, 30.0, False), (8, 30.0, False)])
async def test_a_sign_of_life_breaks_the_silence(signs: int, silence: float, *, well: bool) -> None:
    """A child that takes longer than the patience with one silence is heard out while it gives signs, and no longer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SPEAKER, str(signs), str(silence),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    child = ChildProcess(process)

    async def on_progress(answer: object) -> None:
        raise AssertionError(answer)

    asked = child.ask(
        LoadModel(1, Model("m", "x/y")), ModelLoaded, patience=lambda: 2.5, on_progress=on_progress, cancel=None
    )
    try:
        if well:
            assert (await asked).model.model_id == "m"
        else:
            with pytest.raises(RenderError, match="no progress for 2 s") as caught:
                await asked
            assert caught.value.kind == "hang"
    finally:
        await child.close()


def test_the_first_step_of_a_compiled_model_has_the_patience_of_a_load() -> None:
    """And no step after it, nor the first one of a model that is not compiled."""
    child = RenderChild(Model("m", "x/y", compile=True), hang_s=1, load_s=100)
    assert child._patience() == 100
    child._stepped = True
    assert child._patience() == 1
    assert RenderChild(Model("m", "x/y"), hang_s=1, load_s=100)._patience() == 1
