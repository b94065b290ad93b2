"""The embedded host's times and limits, and the faults that it can be told to have."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from bot.demo.host.faults import HostFaults


@dataclass(frozen=True)
class HostConfig:
    """Livepeer's numbers, where they are known. `haste` divides its times, so that a demo need not wait minutes."""

    haste: float = 50.0
    playback_cache_young_s: float = 5.0  # while an asset is not ready
    playback_cache_s: float = 120.0  # otherwise, also for unknown ids
    mp4_after_hls_s: float = 10.0  # HLS plays first, the static mp4 follows
    delete_after_s: float = 5.0  # Livepeer: 7 days; the files go at once here, the record follows
    max_pending_tasks: int = 100
    at_once: int = 2  # videos prepared at a time; Livepeer: 5
    max_upload_bytes: int = 2 * 1024**3  # Livepeer: 30 GB
    fail_shorter_than_s: float = 0.0  # 3.0 behaves like github.com/livepeer/studio/issues/1328
    back_url: str = ""  # where the watch page's way back leads; without one it has none
    upload_idle_s: float = 60.0  # a connection that sends nothing for so long is closed; the upload stays

    def hasten(self, seconds: float) -> float:
        return seconds / self.haste


@dataclass
class Fault:
    """An error that the next `times` requests get instead of their answers, if method and path match."""

    status: int
    path: str = ".*"  # a regular expression over the whole path
    method: str = ".*"
    times: int = 1
    body: str = '{"errors":["Internal server error: fault"]}'
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def strikes(self, method: str, path: str) -> bool:
        if self.times <= 0 or not (re.fullmatch(self.method, method) and re.fullmatch(self.path, path)):
            return False
        self.times -= 1
        return True


@dataclass
class Faults:
    """The faults of a host: those that a test sets, also while it runs, and those that are asked for on demand."""

    answers: list[Fault] = field(default_factory=list)
    stick_in: Literal["uploading", "waiting", "processing"] | None = None  # assets that reach this phase stay in it
    fail_with: str | None = None  # processing ends with this errorMessage
    cut_upload_after: int | None = None  # cuts the connection of one upload after so many bytes, once
    on_demand: HostFaults = field(default_factory=HostFaults)  # by the control route

    def answer(self, method: str, path: str) -> Fault | None:
        return next((fault for fault in self.answers if fault.strikes(method, path)), None)
