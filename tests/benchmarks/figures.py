"""What a benchmark says: figures with their aims and what ran beside them, as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured number; `beside` says what it was measured against, in the same run. A total may be of kinds."""

    name: str
    value: float
    beside: str
    at_least: float | None = None
    at_most: float | None = None
    by_kind: Mapping[str, int] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None where there is none."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.value <= self.at_most if self.at_most is not None else None

    @property
    def aim(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = named[0] if named else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": _version_or_none("torch"),
    }


def _version_or_none(package: str) -> str | None:
    """The version, None where the package is not installed: not every benchmark needs it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(figures: Sequence[Figure], path: Path) -> None:
    """The figures by name, their aims, what totals are made of, and the machine."""
    path.parent.mkdir(exist_ok=True)
    told: dict[str, Any] = {"machine": machine(), **{figure.name: figure.value for figure in figures}}
    told["aims"] = {figure.name: {"aim": figure.aim, "met": figure.met} for figure in figures if figure.met is not None}
    told["by_kind"] = {figure.name: dict(figure.by_kind) for figure in figures if figure.by_kind is not None}
    told["beside"] = {figure.name: figure.beside for figure in figures}
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def show(figures: Sequence[Figure]) -> None:
    """A table for people."""
    facts = machine()
    console = Console(width=None if Console().is_terminal else 140)
    table = Table(title=f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Python {facts['python']}")
    for name in ("figure", "value", "aim", "", "measured beside"):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    for figure in figures:
        mark = {True: "[green]met[/green]", False: "[red]NOT MET[/red]", None: ""}[figure.met]
        table.add_row(figure.name, f"{figure.value:,.10g}", figure.aim, mark, figure.beside)
    console.print(table)
