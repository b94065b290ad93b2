"""Every lie about the log, told to both auditors: `python -m tests.contracts.audit.tell_lies` writes what they notice.

The node that lies is honest about everything else: storage, blocks, transactions.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from contracts.audit.audit import audit
from contracts.audit.standalone import Audit
from tests.builders.ledger_bench import Bench
from tests.builders.lying_node import (
    EVENTS,
    Logs,
    LyingNode,
    changed,
    cut_short,
    doubled,
    dropped,
    every_event,
    fields_of,
    renamed,
    swapped,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "auditing.md"
BEGIN, END = "<!-- every lie: begin -->", "<!-- every lie: end -->"
CHECKS = ("log", "signature", "creation", "transaction", "block", "storage")  # as the report names them


@dataclass(frozen=True)
class Lie:
    """One lie about the second event of a name."""

    event: str
    kind: str
    tell: Callable[[Logs], Logs]


@dataclass(frozen=True)
class Noticed:
    """The checks of `flock audit` that noticed a lie, and True where the standalone auditor did."""

    lie: Lie
    checks: tuple[str, ...]
    standalone: bool


def every_lie() -> Iterator[Lie]:
    for name in EVENTS:
        yield Lie(name, "left out", dropped(name))
        yield Lie(name, "told twice", doubled(name))
        yield Lie(name, "exchanged with another", swapped(name))
        yield Lie(name, "cut short", cut_short(name))
        yield Lie(name, "an unknown one instead", renamed(name))
        for field in fields_of(name):
            yield Lie(name, f"another `{field}`", changed(name, field))


async def tell(node: LyingNode, address: str, lie: Lie) -> Noticed:
    """Tell a lie to both auditors. Neither may raise anything: what they find is a sentence."""
    node.lie = lie.tell
    report = await audit(node.url, address)
    noticed = tuple(check for check in CHECKS if check in report.noticed_by)
    assert sum(report.noticed_by.values()) == len(report.problems)
    return Noticed(lie, noticed, bool(Audit(node.ask, address).problems))


async def tell_all(bench: Bench) -> list[Noticed]:
    """Tell every lie about a history that holds every event."""
    async with LyingNode(bench) as node:
        return [await tell(node, bench.address, lie) for lie in every_lie()]


def table(results: list[Noticed]) -> str:
    """Return the results as a table in Markdown: lies of one event that the same checks noticed in one row."""
    lines = ["| event | lie | noticed by `flock audit` | by `standalone.py` |", "|---|---|---|---|"]
    for (event, checks, standalone), same in groupby(
        sorted(results, key=lambda each: (list(EVENTS).index(each.lie.event), each.checks, each.standalone)),
        key=lambda each: (each.lie.event, each.checks, each.standalone),
    ):
        lies = ", ".join(each.lie.kind for each in same)
        lines.append(f"| `{event}` | {lies} | {', '.join(checks) or '**nobody**'} | {'yes' if standalone else 'no'} |")
    noticed = sum(bool(each.checks) for each in results)
    alone = sum(each.standalone for each in results)
    lines += ["", f"{len(results)} lies: `flock audit` notices {noticed} of them, `standalone.py` {alone}."]
    return "\n".join(lines)


def committed() -> str:
    """Return the table as the document has it."""
    return DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        every_event(bench)
        made = table(asyncio.run(tell_all(bench)))
        bench.blocks.close()
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
