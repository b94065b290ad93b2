"""The data set card: README.md with the YAML header by which Hugging Face's `datasets` finds the tables."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from generation.feedback.dataset.prompts import SPLITS
from generation.feedback.dataset.rows import RoundRow
from generation.feedback.dataset.schema import FORMAT, TABLES, VIDEOS, Table

_TEXT = """
# Votes of a Discord community on AI-generated videos

Members of a community asked for videos by FLock, a Discord bot, and voted on everybody's. Each row of `videos` holds
the noise of its video: from its `card`, written to a file, `flock rerender` makes frames and final latents again.

{table_list}

- **Rounds**: {rounds}.
- **Splits** go by prompt: near duplicates of a prompt are in one split, which a hash of the prompt decides for good.
- **Consent**: in are only members who have read what their prompts, votes and feedback train, and have not opted out.
  Who opts out later is left out of every later version; what was published before cannot be called back.
- **Pseudonyms** are of this data set alone. A voter's pattern of votes can still be matched with the public ledger's.
- **Removed and rejected content** is left out. Prompts and feedback are members' own words, unedited but for mentions.
- **Licences** of the models that made the videos stand in `model_license`, row by row.

`manifest.json` has the SHA-256 of each file, what was left out and why, and the root of the whole. Every column is
explained in FLock's docs/dataset.md.

```python
from datasets import load_dataset

videos = load_dataset("path/of/this/folder", "videos", split="train")
```
"""


def readme(rounds: Sequence[RoundRow], files: Collection[str], *, videos: int) -> str:
    """Return the text of the card; `files` are the paths of the tables that have rows."""
    header = [
        "---",
        "pretty_name: Votes on AI-generated videos (FLock)",
        "license: other",
        "license_name: see-model-license-of-each-row",
        "task_categories:",
        "- text-to-video",
        "tags:",
        "- preference",
        "- human-feedback",
        f"- {FORMAT.replace('/', '-')}",
        "size_categories:",
        f"- {_size(videos)}",
        *_configs(files),
        "---",
    ]
    listed = "\n".join(f"- `{table.name}`: {table.meaning}" for table in TABLES)
    numbers = ", ".join(str(each.number) for each in rounds) or "none"
    return "\n".join(header) + "\n" + _TEXT.format(table_list=listed, rounds=numbers)


def path_of(table: Table, split: str) -> str:
    """Return the path of a table's split within the data set."""
    return f"{table.name}/{split}.parquet"


def _configs(files: Collection[str]) -> list[str]:
    """Return a config for each table that has rows: `datasets` cannot load one without any file."""
    lines = []
    for table in TABLES:
        paths = {split: path_of(table, split) for split in SPLITS if path_of(table, split) in files}
        if not paths:
            continue
        lines.append(f"- config_name: {table.name}")
        lines += ["  default: true"] if table is VIDEOS else []
        lines.append("  data_files:")
        for split, path in paths.items():
            lines += [f"  - split: {split}", f"    path: {json.dumps(path)}"]
    return ["configs:", *lines] if lines else []


def _size(number: int) -> str:
    for most, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if number < most:
            return name
    return "n>1M"
