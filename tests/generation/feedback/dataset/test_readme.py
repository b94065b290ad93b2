"""The card: another system, Hugging Face's `datasets`, finds every table by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from generation.feedback.dataset.files import write
from generation.feedback.dataset.schema import TABLES
from generation.feedback.dataset.tables import tables_of
from tests.builders.votes import busy_community, community, video, vote

LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
names = get_dataset_config_names(sys.argv[1])
sets = {name: load_dataset(sys.argv[1], name) for name in names}
print(json.dumps({
    "names": names,
    "rows": {f"{name}/{split}": len(rows) for name, each in sets.items() for split, rows in each.items()},
    "columns": {name: each["train"].column_names for name, each in sets.items() if "train" in each},
    "first": load_dataset(sys.argv[1], split="train")[0],
}))
"""


def load(folder: Path, cache: Path) -> dict[str, object]:
    """What `datasets` makes of a folder, in a process of its own that may ask nobody."""
    settings = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(cache),
        "HF_DATASETS_CACHE": str(cache),
    }
    said = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        env={**os.environ, **settings}, cwd=cache, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    loaded: dict[str, object] = json.loads(said.stdout.splitlines()[-1])
    return loaded


def test_datasets_loads_every_table(tmp_path: Path) -> None:
    """Offline, by name and split, with every column; the table of videos comes where no name is given."""
    tables = tables_of(busy_community(), b"k" * 32)
    write(tmp_path / "set", tables)
    (tmp_path / "cache").mkdir()
    loaded = load(tmp_path / "set", tmp_path / "cache")
    assert loaded["names"] == ["videos", "pairs", "votes", "voters"]
    assert loaded["rows"] == {f"{name}/{split}": len(rows) for (name, split), rows in tables.rows.items() if rows}
    assert loaded["columns"] == {table.name: [column.name for column in table.columns] for table in TABLES}
    first = loaded["first"]
    assert isinstance(first, dict)
    row = min(tables.rows["videos", "train"], key=lambda row: str(row["video"]))
    assert first["video"] == row["video"]
    assert json.loads(first["card"]) == json.loads(str(row["card"]))


def test_a_table_without_rows_is_not_promised(tmp_path: Path) -> None:
    """One video with one vote makes no pair: the card names no such table, and the rest loads."""
    write(tmp_path / "set", tables_of(community([video("v1")], [vote("v1", "ben")]), b"k" * 32))
    header = yaml.safe_load((tmp_path / "set" / "README.md").read_text().split("---")[1])
    assert [each["config_name"] for each in header["configs"]] == ["videos", "votes", "voters"]
    assert header["size_categories"] == ["n<1K"]
    (tmp_path / "cache").mkdir()
    assert load(tmp_path / "set", tmp_path / "cache")["rows"] == {
        "videos/train": 1,
        "votes/train": 1,
        "voters/train": 1,
    }


def test_a_data_set_of_nothing_promises_nothing(tmp_path: Path) -> None:
    """The header stays readable."""
    write(tmp_path / "set", tables_of(community(), b"k" * 32))
    header = yaml.safe_load((tmp_path / "set" / "README.md").read_text().split("---")[1])
    assert "configs" not in header
