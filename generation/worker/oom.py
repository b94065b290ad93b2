"""The kernel's own counters of processes killed for want of memory: a SIGKILL alone says nothing of its reason."""

from __future__ import annotations

import re
from pathlib import Path

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills(root: Path = Path("/")) -> int | None:
    """Return the number of processes killed so far: in our control group where that counts them, else on the machine.

    None where neither is known.
    """
    for path in (*_of_control_group(root), root / "proc" / "vmstat"):
        try:
            count = _COUNT.search(path.read_text())
        except (OSError, UnicodeDecodeError):
            continue
        if count:
            return int(count[1])
    return None


def _of_control_group(root: Path) -> list[Path]:
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    paths, mounted = [], root / "sys" / "fs" / "cgroup"
    for line in lines:
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if not controllers:  # version 2
            paths.append(mounted / group.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            paths.append(mounted / "memory" / group.lstrip("/") / "memory.oom_control")
    return paths
