"""Signs of life of a render child between its ticks, given only where something has really come along.

While a model is loaded: bytes that were read, or fetched and written. While one renders: layers that returned, of what
reads prompts, denoises and decodes. A process that only waits, or turns in circles, gives none. With torch's modules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from generation.render.acceleration import DENOISERS

EVERY_S = 1.0
LEAST_BYTES = 1 << 20  # between two signs: what logs and libraries read and write beside it is less


class Pulse:
    """Looks once a second, in a thread of its own, and calls `sign` when there was progress since the last one."""

    def __init__(self, sign: Callable[[], None], *, every_s: float = EVERY_S) -> None:
        self._sign = sign
        self._every_s = every_s
        self._layers, self._bytes = 0, moved_bytes()
        self.loading = False  # bytes count then, and only then
        threading.Thread(target=self._look, daemon=True, name="pulse").start()

    def feel(self, pipeline: Any, *, compiled: bool) -> None:
        """From now on layers of a pipeline that return are progress; a hook would undo those that are compiled."""
        for name, part in pipeline.components.items():
            if hasattr(part, "named_modules") and not (compiled and name in DENOISERS):
                for layer in part.modules():
                    if next(layer.children(), None) is None:
                        layer.register_forward_hook(self._returned)

    def _returned(self, *_: Any) -> None:
        self._layers += 1

    def _look(self) -> None:
        sleeper, seen = threading.Event(), 0
        while not sleeper.wait(self._every_s):
            layers, moved = self._layers, moved_bytes()
            if layers != seen or (self.loading and moved - self._bytes >= LEAST_BYTES):
                seen, self._bytes = layers, moved
                self._sign()


def moved_bytes() -> int:
    """Bytes that this process has read and written so far; 0 where the system does not tell (Linux does)."""
    try:
        lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(lines["rchar"]) + int(lines["wchar"]) + int(lines["read_bytes"])
    except (OSError, ValueError, KeyError):
        return 0
