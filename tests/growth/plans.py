"""What the database does for each statement that the code executes: its plan, and how much it touches.

Work is counted, never timed: the steps of SQLite's virtual machine, and the pages that PostgreSQL looks at.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.schema import metadata

EVERY = 10  # steps of the virtual machine between two counts
_ALIAS = re.compile(r"(\w+) AS (\w+)")


@dataclass
class Statement:
    """A statement as it was executed. `scans` names the tables that it reads from end to end, or an index of theirs."""

    text: str
    plan: str
    scans: frozenset[str]
    work: int = 0


@dataclass
class Watch:
    """The statements of one engine while it is watched."""

    statements: list[Statement] = field(default_factory=list)

    @property
    def work(self) -> int:
        return sum(statement.work for statement in self.statements)

    def scans(self) -> dict[str, set[str]]:
        """The texts of statements that scan, by table."""
        found: dict[str, set[str]] = defaultdict(set)
        for statement in self.statements:
            for table in statement.scans:
                found[table].add(" ".join(statement.text.split()))
        return found


@contextmanager
def watched(database: AsyncEngine) -> Iterator[Watch]:
    """Explains each statement of the engine, in its own transaction, before it is executed."""
    watch = Watch()
    explain = _on_sqlite if database.dialect.name == "sqlite" else _on_postgresql
    steps = [0]

    def before(connection: Any, _cursor: Any, text: str, parameters: Any, context: Any, many: bool) -> None:
        if text.split()[0] not in ("SELECT", "UPDATE", "DELETE", "WITH", "INSERT"):
            return
        made = explain(connection.connection.dbapi_connection, text, parameters[0] if many else parameters)
        watch.statements.append(made)
        context.explained = (made, steps[0])

    def after(_connection: Any, _cursor: Any, _text: str, _parameters: Any, context: Any, _many: bool) -> None:
        if (explained := getattr(context, "explained", None)) is not None and database.dialect.name == "sqlite":
            explained[0].work = (steps[0] - explained[1]) * EVERY

    def count(connection: Any, _record: Any, _proxy: Any) -> None:
        def one_more() -> None:
            steps[0] += 1

        connection.run_async(lambda driver: driver.set_progress_handler(one_more, EVERY))

    engine = database.sync_engine
    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    if database.dialect.name == "sqlite":
        event.listen(engine, "checkout", count)
    try:
        yield watch
    finally:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)
        if database.dialect.name == "sqlite":
            event.remove(engine, "checkout", count)


def _rows(connection: Any, text: str, parameters: Any) -> list[Any]:
    cursor = connection.cursor()
    try:
        cursor.execute(text, parameters)
        return list(cursor.fetchall())
    finally:
        cursor.close()


def _on_sqlite(connection: Any, text: str, parameters: Any) -> Statement:
    if text.startswith("INSERT"):  # what its foreign keys might have to look for is told, and not looked for
        return Statement(text, "", frozenset())
    details = [str(row[3]) for row in _rows(connection, f"EXPLAIN QUERY PLAN {text}", parameters)]
    return Statement(text, "\n".join(details), scanned(text, details))


def scanned(text: str, details: list[str]) -> frozenset[str]:
    """The tables that a plan of SQLite's scans; a covering index that is read from end to end is a scan as well."""
    names = {alias: table for table, alias in _ALIAS.findall(text)}
    found = {match[1] for detail in details if (match := re.match(r"SCAN (\w+)", detail))}
    return frozenset(names.get(name, name) for name in found) & metadata.tables.keys()


def _on_postgresql(connection: Any, text: str, parameters: Any) -> Statement:
    if text.startswith("INSERT"):
        return Statement(text, "", frozenset())
    cursor = connection.cursor()
    cursor.execute("SAVEPOINT explained")
    try:
        [[told]] = _rows(connection, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", parameters)
    finally:
        cursor.execute("ROLLBACK TO SAVEPOINT explained")
        cursor.execute("RELEASE SAVEPOINT explained")
        cursor.close()
    plan = told if isinstance(told, list) else json.loads(told)
    top = plan[0]["Plan"]
    lines: list[str] = []
    scans: set[str] = set()
    _walk(top, 0, lines, scans)
    return Statement(text, "\n".join(lines), frozenset(scans), top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def _walk(node: dict[str, Any], depth: int, lines: list[str], scans: set[str]) -> None:
    kind = node["Node Type"]
    condition = node.get("Index Cond")
    rows = node.get("Actual Rows"), node.get("Rows Removed by Filter", 0), node.get("Actual Loops")
    lines.append(
        f"{'  ' * depth}{kind} {node.get('Relation Name', '')} {node.get('Index Name', '')} {condition or ''} {rows}"
    )
    if kind == "Seq Scan" or (kind in ("Index Scan", "Index Only Scan") and condition is None):
        scans.add(node.get("Relation Name", ""))
    for child in node.get("Plans", ()):
        _walk(child, depth + 1, lines, scans)
