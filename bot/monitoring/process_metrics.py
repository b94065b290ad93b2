"""The metrics of one process and of its machine: version, free disk, GPU memory, and errors of the services it asks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from generation.hosting.host import HOST_ERRORS

Role = Literal["bot", "worker"]
DISCORD_ERRORS = ("rate_limit", "refused", "server")
GPU_S = 5.0  # between two questions to the driver, and the time that an answer may take
GPU_QUERY = ("nvidia-smi", "--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits")
MIB = 1 << 20


class GpuMemory(NamedTuple):
    """The memory of a GPU in bytes; `gpu` is the driver's number of it."""

    gpu: str
    used: int
    total: int


class ProcessMetrics:
    """The metrics that need no database."""

    def __init__(self, role: Role, data_dir: Path, *, discord_errors: Mapping[str, int] | None = None) -> None:
        """`discord_errors` are counts by the kinds of DISCORD_ERRORS, of a process that talks to Discord."""
        self._role = role
        self._data_dir = data_dir
        self._discord_errors = discord_errors
        self._gpus: Sequence[GpuMemory] = ()
        self._asked_at = float("-inf")

    async def families(self) -> list[Metric]:
        """Return the families of this moment."""
        families: list[Metric] = [self._build_info(), _host_errors()]
        with contextlib.suppress(OSError):  # of a folder that is not made yet, or whose disk is away
            free = GaugeMetricFamily("flock_data_free_bytes", "Free space for the data folder.")
            free.add_metric([], shutil.disk_usage(self._data_dir).free)
            families.append(free)
        if self._discord_errors is not None:
            errors = CounterMetricFamily("flock_discord_errors", "Answers of Discord's with an error.", labels=["kind"])
            for kind in DISCORD_ERRORS:
                errors.add_metric([kind], self._discord_errors.get(kind, 0))
            families.append(errors)
        if self._role == "worker":
            families += await self._gpu_memory()
        return families

    def _build_info(self) -> Metric:
        info = GaugeMetricFamily(
            "flock_build_info", "1; the labels say what runs.", labels=["role", "version", "python"]
        )
        info.add_metric([self._role, flock_version(), platform.python_version()], 1)
        return info

    async def _gpu_memory(self) -> list[Metric]:
        if time.monotonic() - self._asked_at >= GPU_S:
            self._asked_at = time.monotonic()
            self._gpus = await ask_for_gpu_memory()
        if not self._gpus:
            return []
        used = GaugeMetricFamily("flock_gpu_memory_used_bytes", "GPU memory in use, by whomever.", labels=["gpu"])
        total = GaugeMetricFamily("flock_gpu_memory_total_bytes", "GPU memory.", labels=["gpu"])
        for gpu in self._gpus:
            used.add_metric([gpu.gpu], gpu.used)
            total.add_metric([gpu.gpu], gpu.total)
        return [used, total]


def _host_errors() -> Metric:
    errors = CounterMetricFamily("flock_host_errors", "Requests that the video host did not do.", labels=["kind"])
    for kind, count in sorted(HOST_ERRORS.items()):
        errors.add_metric([kind], count)
    return errors


def flock_version() -> str:
    """Return the version of the installed package; `unknown` where nothing is installed."""
    try:
        return version("flock")
    except PackageNotFoundError:
        return "unknown"


async def ask_for_gpu_memory() -> list[GpuMemory]:
    """Return the memory of the GPUs that this process may use, by NVIDIA's own program; none where it is missing."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    arguments = list(GPU_QUERY) if visible is None else [*GPU_QUERY, f"--id={visible}"]
    if visible == "":
        return []
    process = None
    try:
        async with asyncio.timeout(GPU_S):
            process = await asyncio.create_subprocess_exec(
                *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
            output, _ = await process.communicate()
    except (OSError, TimeoutError):
        return []
    finally:
        if process is not None and process.returncode is None:
            process.kill()
            with contextlib.suppress(TimeoutError):  # a driver that hangs may hold it up
                async with asyncio.timeout(1):
                    await process.wait()
    return read_gpu_memory(output.decode(errors="replace")) if process.returncode == 0 else []


def read_gpu_memory(text: str) -> list[GpuMemory]:
    """Return what `nvidia-smi` has printed, in MiB; a GPU of which it does not know the memory is left out."""
    gpus = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            gpu, used, total = (part.strip() for part in line.split(","))
            gpus.append(GpuMemory(gpu, int(used) * MIB, int(total) * MIB))
    return gpus
