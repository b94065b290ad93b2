"""The signs of life of a render process between its ticks, given only where work has really come along.

While a model is loaded, that is bytes read, or fetched and written. During a render, it is layers that have returned,
of whatever reads prompts, denoises and decodes. A process that only waits, or turns in circles, gives no sign. With
torch's modules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from generation.render.acceleration import DENOISERS

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

EVERY_S = 1.0
LEAST_BYTES = 1 << 20  # between two signs: logs and libraries read and write less than that beside the model


class Heartbeat:
    """Looks once a second, in a thread of its own, and calls `sign` when there was progress since the last one."""

    def __init__(self, sign: Callable[[], None], *, every_s: float = EVERY_S) -> None:
        self._sign = sign
        self._every_s = every_s
        self._layers, self._bytes = 0, transferred_bytes()
        self.loading = False  # bytes count then, and only then
        threading.Thread(target=self._look, daemon=True, name="heartbeat").start()

    def watch(self, pipeline: DiffusionPipeline, *, compiled: bool) -> None:
        """Count the layers of a pipeline that return from now on; not of what is compiled, which a hook would undo."""
        for name, part in pipeline.components.items():
            if hasattr(part, "named_modules") and not (compiled and name in DENOISERS):
                for layer in part.modules():
                    if next(layer.children(), None) is None:
                        layer.register_forward_hook(self._count_layer)

    def _count_layer(self, *_: object) -> None:
        self._layers += 1

    def _look(self) -> None:
        sleeper, last_layers = threading.Event(), 0
        while not sleeper.wait(self._every_s):
            layers, transferred = self._layers, transferred_bytes()
            if layers != last_layers or (self.loading and transferred - self._bytes >= LEAST_BYTES):
                last_layers, self._bytes = layers, transferred
                self._sign()


def transferred_bytes() -> int:
    """Return the bytes that this process has read and written so far; 0 where the system does not tell (Linux does)."""
    try:
        lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(lines["rchar"]) + int(lines["wchar"]) + int(lines["read_bytes"])
    except (OSError, ValueError, KeyError):
        return 0
