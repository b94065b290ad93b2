"""The command `python -m tests.architecture`: print the measures of the house, or write its map.

python -m tests.architecture                  the table
python -m tests.architecture --at HEAD~20     the same of another commit
python -m tests.architecture --list clauses   each place that a measure counts
python -m tests.architecture map              the map in docs/architecture.md
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from .documents import DOCUMENTS, write_map
from .measures import MEASURES, House, Measure

ROOT = Path(__file__).parents[2]
ALL = MEASURES | DOCUMENTS


def measure_all(root: Path) -> dict[str, Measure]:
    """Return every measure of the tree below a root, by its name."""
    house = House(root)
    return {name: take(house) for name, take in ALL.items()}


def measure_commit(root: Path, commit: str) -> dict[str, Measure]:
    """Return every measure of another commit, which is unpacked into a temporary folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=root, capture_output=True, check=False)
    if archive.returncode:
        raise SystemExit(f"git cannot show {commit}: {archive.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
        return measure_all(Path(folder))


def table(measures: dict[str, Measure]) -> str:
    """Return the measures as lines of text."""
    rows = [f"{name:18}{m.title:42}{round(m.number, 1):>8g}  {m.remark}" for name, m in measures.items()]
    return "\n".join(row.rstrip() for row in rows)


def main(argv: list[str], root: Path = ROOT) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.architecture", description="Measure the house.")
    parser.add_argument("command", nargs="?", choices=["measure", "map"], default="measure")
    parser.add_argument("--at", metavar="REF", help="measure this commit instead of the files on disk")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, with every place")
    form.add_argument("--list", choices=ALL, metavar="NAME", help=f"print the places of one of {', '.join(ALL)}")
    arguments = parser.parse_args(argv)
    if arguments.command == "map":
        write_map(House(root))
        return
    measures = measure_commit(root, arguments.at) if arguments.at else measure_all(root)
    if arguments.json:
        text = json.dumps({name: dataclasses.asdict(m) for name, m in measures.items()}, indent=2)
    else:
        text = "\n".join(measures[arguments.list].places) if arguments.list else table(measures)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
