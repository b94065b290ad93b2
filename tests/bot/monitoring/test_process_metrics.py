"""The metrics of a process and its machine: what runs, free disk, GPU memory, errors of Discord's and of the host's."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric

from bot.monitoring.process_metrics import ProcessMetrics, ask_for_gpu_memory, flock_version, read_gpu_memory
from generation.hosting.host import HOST_ERRORS, AssetMissing, HostBusy, HostRejected, HostUnreachable

MIB = 1 << 20


def numbers(families: list[Metric]) -> dict[tuple[str, ...], float]:
    """Return the samples by name and label values."""
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of that name before all others."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


async def test_what_runs_and_how_much_disk_is_free(tmp_path: Path) -> None:
    """A folder that is not there has no free space to tell of; the rest is served all the same."""
    found = numbers(await ProcessMetrics("bot", tmp_path).families())
    assert found[("flock_data_free_bytes",)] > 0
    assert any(name[:3] == ("flock_build_info", "bot", flock_version()) for name in found)
    found = numbers(await ProcessMetrics("bot", tmp_path / "nowhere").families())
    assert ("flock_data_free_bytes",) not in found
    assert any(name[0] == "flock_build_info" for name in found)


async def test_errors_of_discord_are_those_of_who_talks_to_it(tmp_path: Path) -> None:
    """Every kind is served from the start, so that a rise can be seen; a worker has none of them."""
    found = numbers(await ProcessMetrics("bot", tmp_path, discord_errors={"rate_limit": 3}).families())
    assert found["flock_discord_errors_total", "rate_limit"] == 3
    assert found["flock_discord_errors_total", "server"] == 0
    assert not any("discord" in name[0] for name in numbers(await ProcessMetrics("worker", tmp_path).families()))


async def test_errors_of_the_host_are_counted_by_kind(tmp_path: Path) -> None:
    """An asset that is not there is an answer, and no error."""
    before = dict(HOST_ERRORS)
    for _ in range(2):
        HostUnreachable("away")
    HostBusy("busy", 3.0)
    HostRejected("no", status=403)
    HostRejected("no such asset", status=404)
    AssetMissing("no such asset", status=404)
    found = numbers(await ProcessMetrics("worker", tmp_path).families())
    for kind, count in {"unreachable": 2, "busy": 1, "rejected": 1}.items():
        assert found["flock_host_errors_total", kind] == before[kind] + count


async def test_the_memory_of_a_workers_gpus_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NVIDIA's program tells it, for the GPUs that the worker may use; a bot asks for none."""
    script = 'echo "$@" >> asked; echo "0, 1024, 24576"; echo "1, [N/A], [N/A]"'
    nvidia_smi(tmp_path / "bin", monkeypatch, script)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    worker = ProcessMetrics("worker", tmp_path)
    for _ in range(2):
        found = numbers(await worker.families())
        assert found["flock_gpu_memory_used_bytes", "0"] == 1024 * MIB
        assert found["flock_gpu_memory_total_bytes", "0"] == 24576 * MIB
        assert ("flock_gpu_memory_used_bytes", "1") not in found
    assert (tmp_path / "asked").read_text().count("--id=0,1") == 1  # not at every scrape
    assert not any("gpu" in name[0] for name in numbers(await ProcessMetrics("bot", tmp_path).families()))


@pytest.mark.parametrize("script", ["exit 9", "echo 'NVIDIA-SMI has failed'", "kill -9 $$"])
async def test_a_machine_without_a_gpu_tells_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A program that fails, one that says something else, and none at all."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia_smi(tmp_path / "bin", monkeypatch, script)
    assert await ask_for_gpu_memory() == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await ask_for_gpu_memory() == []


def test_what_is_printed_is_read() -> None:
    """In MiB, one GPU a line."""
    assert read_gpu_memory("0, 1, 2\nsomething else\n3, 4, 5\n") == [("0", MIB, 2 * MIB), ("3", 4 * MIB, 5 * MIB)]
    assert read_gpu_memory("") == []
