"""The kernel's counters of what it killed for want of memory, as the versions of control groups write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.worker.oom import oom_kills

VMSTAT = "nr_free_pages 1\noom_kill 3\n"


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.events": "oom 9\noom_kill 2\n"}, 2),
        ({"proc/self/cgroup": "5:cpu,memory:/a\n", "sys/fs/cgroup/memory/a/memory.oom_control": "oom_kill 1\n"}, 1),
        ({"proc/self/cgroup": "0::/\n"}, 3),  # the root has no counter of its own
        ({"proc/self/cgroup": "nonsense"}, 3),
        ({}, 3),
    ],
)
def test_the_own_group_counts_before_the_machine(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    """Where no group counts, the machine does; where nobody counts, nothing is known."""
    assert oom_kills(written(tmp_path, {**files, "proc/vmstat": VMSTAT})) == kills
    (tmp_path / "proc" / "vmstat").unlink()
    assert oom_kills(tmp_path) == (kills if kills < 3 else None)
