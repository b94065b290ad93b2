"""The rules for documents: the map of the house, the numbers of the decisions, the top of the changelog."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from .measures import House, Measure

MAP = "docs/architecture.md"
COLUMNS = 100  # of the page that holds the map: prose, code and the map itself
BEGIN = "<!-- The map: written by `python -m tests.architecture map`, from the first line of each file. -->"
END = "<!-- The end of the map. -->"
VERSION = r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}"


def _wrapped(line: str) -> list[str]:
    """Return a line of the map in lines that fit the page; those that go on a list's item are indented."""
    indent = "  " if line.startswith("- ") else ""
    return textwrap.wrap(line, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [
        ""
    ]


def _room(folder: Path, house: House) -> list[str]:
    """Return the lines of one folder: its heading, its modules, and the names of whatever else it holds."""
    path = folder.relative_to(house.root).as_posix()
    modules = {module.path.rpartition("/")[2]: module for module in house.modules if module.folder == path}
    package = modules.pop("__init__.py", None)
    rooms = {module.folder for module in house.modules}
    heading = f"### `{path}/`"
    lines = [heading, "", *([package.first_line, ""] if package and package.first_line else [])]
    lines += [f"- `{name}` — {module.first_line}".removesuffix(" — ") for name, module in modules.items()]
    entries = sorted(entry for entry in folder.iterdir() if not re.match(r"\.|__pycache__", entry.name))
    others = [
        f"`{entry.name}/`" if entry.is_dir() else f"`{entry.name}`"
        for entry in entries
        if entry.suffix != ".py" and entry.relative_to(house.root).as_posix() not in rooms
    ]
    lines += [f"- beside them {', '.join(others)}"] if others else []
    lines = [*lines, ""] if lines[-1] else lines
    return [part for line in lines for part in _wrapped(line)]


def map_of(house: House) -> str:
    """Return the map: a heading for each folder, and a line for each file with the first line of its docstring."""
    rooms = sorted({house.root / module.folder for module in house.modules}, key=lambda folder: folder.parts)
    return "\n".join([BEGIN, "", *(line for room in rooms for line in _room(room, house)), END])


def _split(house: House) -> tuple[str, str, str] | None:
    """Return the page before, on and after the map, or nothing where the page has no room for it."""
    file = house.root / MAP
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    return (before, begin + inside + end, after) if end else None


def write_map(house: House) -> None:
    """Write the map between its two markers. Raise SystemExit where the page lacks them."""
    parts = _split(house)
    if parts is None:
        raise SystemExit(f"Put these two lines where the map shall stand in {MAP}:\n\n{BEGIN}\n{END}")
    (house.root / MAP).write_text(parts[0] + map_of(house) + parts[2], encoding="utf-8")


def map_measure(house: House) -> Measure:
    """The map in the document against the files; the remedy is `python -m tests.architecture map`."""
    parts = _split(house)
    if parts is None:
        return Measure("map out of date", 1, "no markers", [f"{MAP}:1: run `python -m tests.architecture map`"])
    drawn, due = parts[1].splitlines(), map_of(house).splitlines()
    remedy = [f"{MAP}:1: run `python -m tests.architecture map`"] if drawn != due else []
    places = remedy + [f"{MAP}:1: {line}" for line in [*sorted(set(due) - set(drawn)), *sorted(set(drawn) - set(due))]]
    return Measure("map out of date", int(drawn != due), places=places)


def wide_lines(house: House) -> Measure:
    """The lines of the map's page that are wider than it may be."""
    file = house.root / MAP
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    wide = [(number, line) for number, line in enumerate(lines, 1) if len(line) > COLUMNS]
    places = [f"{MAP}:{number}: {len(line)} columns" for number, line in wide]
    return Measure(f"lines of {MAP} over {COLUMNS} columns", len(places), places=places)


def decisions(house: House) -> Measure:
    """The numbers that the decisions leave out or use twice."""
    numbers = sorted(int(path.name[:4]) for path in (house.root / "docs/decisions").glob("[0-9]" * 4 + "-*.md"))
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    places = [f"docs/decisions/{n:04}: missing" for n in missing] + [f"docs/decisions/{n:04}: twice" for n in twice]
    return Measure("decisions misnumbered", len(places), f"{len(numbers)} decisions", places)


def changelog(house: House) -> Measure:
    """The top of the changelog: a dated version, or what is unreleased above one."""
    file = house.root / "CHANGELOG.md"
    headings = re.findall(r"^## (.+)$", file.read_text(encoding="utf-8") if file.exists() else "", re.MULTILINE)
    dated = [heading for heading in headings if heading.strip("[]").lower() != "unreleased"][:1]
    good = (
        bool(dated and re.fullmatch(VERSION, dated[0].replace("[", "").replace("]", ""))) and dated[0] in headings[:2]
    )
    return Measure("changelog without a dated version on top", int(not good), ", ".join(headings[:2]))


DOCUMENTS = {"map": map_measure, "wide-lines": wide_lines, "decisions": decisions, "changelog": changelog}
