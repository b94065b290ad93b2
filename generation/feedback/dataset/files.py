"""The folder of a data set: Parquet files, the card, the manifest with its root; written whole, and checked again.

The same tables give the same bytes with the same version of pyarrow, which the manifest names. pyarrow is imported by
what needs it alone: the manifest is read and checked without it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generation.feedback.dataset import pairs, prompts, scores
from generation.feedback.dataset.prompts import SPLITS
from generation.feedback.dataset.readme import path_of, readme
from generation.feedback.dataset.schema import FORMAT, TABLES, ColumnType, Table
from generation.feedback.dataset.tables import Row, Tables
from generation.feedback.dataset.video_facts import canonical
from generation.strict_json import JsonObject
from migrations.files import exchange_names, sha256_file

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
README = "README.md"
GROUP_ROWS = 10_000  # of a Parquet row group


class DatasetError(ValueError):
    """A folder is no whole data set, or may not be written to; str() is a sentence for the operator."""


@dataclass(frozen=True)
class Manifest:
    """The manifest of a data set. `root` is a hash over all of `facts`, and thereby over every file."""

    root: str
    facts: JsonObject

    @property
    def files(self) -> dict[str, JsonObject]:
        """The facts of each file by its path: `sha256`, `bytes`, and `rows` where it is a table."""
        files = self.facts["files"]
        return {str(path): dict(entry) for path, entry in files.items()} if isinstance(files, dict) else {}


def root_of(facts: JsonObject) -> str:
    """Return the root: SHA-256, in hex, of the manifest without its root as canonical JSON (sorted, no spaces)."""
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def write(folder: Path, tables: Tables) -> Manifest:
    """Write a data set in place of an earlier one, or of an empty folder: it appears whole or not at all.

    Raises DatasetError where the folder holds anything else, and OSError. What an export that was killed has left is
    removed by the next one.
    """
    folder = folder.absolute()
    draft, old = (folder.with_name(f".{folder.name}.{word}") for word in ("draft", "old"))
    if old.is_dir() and not folder.exists():
        old.rename(folder)  # an export was killed between two renames: this data set is the only one
    _check_place(folder)
    for left in (draft, old):
        shutil.rmtree(left, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        manifest = _write_files(draft, tables)
        _put_in_place(draft, folder, old)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return manifest


def _put_in_place(draft: Path, folder: Path, old: Path) -> None:
    """Give a data set its name. An earlier one has it until then, and no moment is without one.

    Where names cannot be exchanged there is such a moment, after which the next export puts the earlier one back.
    """
    if folder.exists() and exchange_names(draft, folder):
        return  # the earlier one is the draft now
    if folder.exists():
        folder.rename(old)
    try:
        draft.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder} is a file. Name a folder for the data set.")
    if folder.is_dir() and any(folder.iterdir()):
        try:
            read_manifest(folder)
        except DatasetError:
            raise DatasetError(
                f"{folder} holds something else than a data set. Name an empty or a new folder."
            ) from None


def _write_files(draft: Path, tables: Tables) -> Manifest:
    import pyarrow

    entries: JsonObject = {}
    for table in TABLES:
        for split in SPLITS:
            rows = tables.rows.get((table.name, split))
            if rows:  # a file without rows has no split in the card either
                path = path_of(table, split)
                _write_table(draft / path, table, rows)
                entries[path] = {**_entry(draft / path), "rows": len(rows)}
    videos = sum(len(tables.rows.get(("videos", split), ())) for split in SPLITS)
    (draft / README).write_text(readme(tables.rounds, entries, videos=videos), encoding="utf-8")
    entries[README] = _entry(draft / README)
    facts: JsonObject = {
        "format": FORMAT,
        "rounds": [{"key": each.key, "number": each.number} for each in tables.rounds],
        "recipe": {
            "shrink_votes": scores.SHRINK_VOTES,
            "test_share": prompts.TEST_SHARE,
            "prior_battles": pairs.PRIOR_BATTLES,
        },
        "left_out": {name: dict(reasons) for name, reasons in tables.left_out.items()},
        "software": {"pyarrow": pyarrow.__version__},
        "files": entries,
    }
    manifest = Manifest(root_of(facts), facts)
    text = json.dumps({**facts, "root": manifest.root}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (draft / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def _entry(path: Path) -> JsonObject:
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def _write_table(path: Path, table: Table, rows: Sequence[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(exist_ok=True)
    ordered = sorted(rows, key=lambda row: [str(row[name]) for name in table.sort])
    schema = arrow_schema(table)
    options = {"compression": "zstd", "compression_level": 3, "version": "2.6", "data_page_version": "1.0"}
    with pq.ParquetWriter(path, schema, use_dictionary=True, write_statistics=True, **options) as writer:
        for start in range(0, len(ordered), GROUP_ROWS):
            writer.write_table(pa.Table.from_pylist(ordered[start : start + GROUP_ROWS], schema=schema))


def arrow_schema(table: Table) -> pa.Schema:
    """Return a table's schema as pyarrow has it."""
    import pyarrow as pa

    types: dict[ColumnType, pa.DataType] = {
        "string": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "list<string>": pa.list_(pa.string()),
    }
    return pa.schema([pa.field(column.name, types[column.type]) for column in table.columns])


# --------------------------------------------------------------------------- reading


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a data set; its files are not looked at. Raises DatasetError."""
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DatasetError(f"{folder} is no data set: it has no {MANIFEST} that can be read.") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DatasetError(f"{folder} is no data set that this release reads ({FORMAT}).")
    root, files = data.pop("root", None), data.get("files")
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise DatasetError(f"The manifest of {folder} names no files.")
    if root != root_of(data):
        raise DatasetError(f"The manifest of {folder} was changed: its root is not that of what it says.")
    return Manifest(root, data)


def verify(folder: Path) -> Manifest:
    """Return the manifest of a data set whose every file is as it says, and which has no other. Raises DatasetError."""
    manifest = read_manifest(folder)
    files = manifest.files
    here = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    here = {path for path in here if not path.startswith(".")}  # such as what a hub's client leaves
    if more := sorted(here - set(files)):
        raise DatasetError(f"{folder} has a file that its manifest does not name: {more[0]}.")
    for path, entry in sorted(files.items()):
        if path not in here:
            raise DatasetError(f"{folder} lacks {path}.")
        if sha256_file(folder / path) != entry.get("sha256"):
            raise DatasetError(f"{path} in {folder} was changed: its hash is not the manifest's.")
    return manifest


def rows_of(folder: Path, table: str, split: str = "train") -> Iterator[Row]:
    """Yield the rows of a table; none where the split has no file. Needs pyarrow. The files are not verified."""
    import pyarrow.parquet as pq

    path = folder / table / f"{split}.parquet"
    if path.is_file():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()


def tallies(folder: Path) -> dict[str, tuple[int, int]]:
    """Return votes up and down by the ledger's key of each video. Needs pyarrow.

    On the ledger no video has fewer of either: members who were left out, as the manifest counts them, are the rest.
    """
    return {
        str(row["video"]): (int(str(row["up"])), int(str(row["down"])))
        for split in SPLITS
        for row in rows_of(folder, "videos", split)
    }
