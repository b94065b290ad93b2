"""A child that is kept from encoding for as long as a test wants."""

from __future__ import annotations

import os
from pathlib import Path

from generation.worker.render_process import RenderChild


class Held:
    """Keeps a child from encoding one video: what it is about to write is a pipe until the test lets go."""

    def __init__(self, child: RenderChild, video: Path) -> None:
        self._draft = video.with_name(f".{video.name}.{child.pid}{video.suffix}")
        os.mkfifo(self._draft)

    def let_go(self) -> None:
        """The name is free again before the child wakes up."""
        pipe = os.open(self._draft, os.O_PATH)
        self._draft.unlink()
        os.close(os.open(f"/proc/self/fd/{pipe}", os.O_RDONLY | os.O_NONBLOCK))
        os.close(pipe)
