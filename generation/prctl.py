"""The promises that the Linux kernel keeps for a process, by prctl(2). Elsewhere these functions change nothing."""

from __future__ import annotations

import signal
import sys

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE = 1, 3, 4


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however that dies."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def hide_from_others() -> None:
    """Keep the memory and the first environment of this process from others of the same user, its children included.

    `del os.environ[…]` does not change what /proc shows: that is the memory in which the process began. A process that
    may not be dumped cannot be traced either, and leaves no core. Root still reads all of it (CAP_SYS_PTRACE).
    """
    _prctl(PR_SET_DUMPABLE, 0)


def is_hidden() -> bool:
    """Return True where `hide_from_others` has had its effect."""
    return sys.platform == "linux" and _prctl(PR_GET_DUMPABLE, 0) != 1


def _prctl(option: int, value: int) -> int:
    if sys.platform != "linux":
        return 0
    import ctypes

    return int(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0))
