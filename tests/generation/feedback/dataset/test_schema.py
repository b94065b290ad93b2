"""The schema is what docs/dataset.md says, column by column."""

from __future__ import annotations

from pathlib import Path

from generation.feedback.dataset.schema import TABLES

PAGE = (Path(__file__).parents[4] / "docs" / "dataset.md").read_text(encoding="utf-8")


def test_every_column_stands_in_the_page() -> None:
    """With its type and the same words, under its table; a column that is not there is missed."""
    for table in TABLES:
        section = PAGE.split(f"### `{table.name}`", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]
        lines = [line for line in section.splitlines() if line.startswith("| `")]
        assert lines == [f"| `{each.name}` | {each.type} | {each.meaning} |" for each in table.columns]


def test_rows_can_be_sorted_by_what_names_them() -> None:
    """Each table's order is by columns of its own, and no two columns have one name."""
    for table in TABLES:
        names = [column.name for column in table.columns]
        assert set(table.sort) <= set(names)
        assert len(set(names)) == len(names)
