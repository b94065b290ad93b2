"""The folder of a data set: the same votes give the same bytes, and what was changed afterwards is seen."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from generation.feedback.dataset import files
from generation.feedback.dataset.files import DatasetError, read_manifest, root_of, rows_of, tallies, verify, write
from generation.feedback.dataset.rows import Consent
from generation.feedback.dataset.tables import Tables, tables_of
from tests.builders.votes import busy_community, community, key_of, video, vote

KEY = b"k" * 32
ROOT = Path(__file__).parents[4]
SCRIPT = """
import random, sys
from dataclasses import replace
from pathlib import Path
from generation.feedback.dataset.files import write
from generation.feedback.dataset.tables import tables_of
from tests.builders.votes import busy_community
made = busy_community()
rng = random.Random(int(sys.argv[2]))
order = lambda rows: rng.sample(list(rows), len(rows))
made = replace(made, videos=order(made.videos), votes=order(made.votes), feedback=order(made.feedback),
               battles=order(made.battles), rounds=order(made.rounds))
print(write(Path(sys.argv[1]), tables_of(made, b"k" * 32)).root)
"""


def busy(seed: int = 0) -> Tables:
    return tables_of(busy_community(seed), KEY)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the order of the rows and the seed of Python's hashes; one vote more gives another root."""
    roots = []
    for number in (1, 2):
        said = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / str(number)), str(number)],
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        roots.append(said.stdout.strip())
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert roots[0] == roots[1] == verify(tmp_path / "1").root
    assert write(tmp_path / "3", busy(1)).root != roots[0]


def test_the_manifest_says_what_is_in_and_what_is_not(tmp_path: Path) -> None:
    """Hashes and rows of each file, rounds, what was left out; SHA-256 and JSON are enough to check the root."""
    write(tmp_path / "set", busy())
    data = json.loads((tmp_path / "set" / "manifest.json").read_text())
    root = data.pop("root")
    plain = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert root == hashlib.sha256(plain.encode()).hexdigest() == root_of(data)
    assert set(data["files"]) == set(contents(tmp_path / "set")) - {"manifest.json"}
    assert data["files"]["videos/train.parquet"]["rows"] + data["files"]["videos/test.parquet"]["rows"] == 48
    assert data["left_out"]["videos"]["removed"] == 1
    assert data["left_out"]["votes"]["voter_not_asked"] == 48
    assert [each["number"] for each in data["rounds"]] == [1, 2]
    assert data["format"] == "flock-dataset/1"


def test_the_tallies_are_those_of_the_votes(tmp_path: Path) -> None:
    """By the ledger's key of each video; without who opted out."""
    videos, votes = [video("v1")], [vote("v1", "ben"), vote("v1", "emi"), vote("v1", "kai", "down")]
    write(tmp_path / "all", tables_of(community(videos, votes), KEY))
    assert tallies(tmp_path / "all") == {key_of("v1"): (2, 1)}
    write(tmp_path / "less", tables_of(community(videos, votes, ben=Consent.OPTED_OUT), KEY))
    assert tallies(tmp_path / "less") == {key_of("v1"): (1, 1)}
    assert list(rows_of(tmp_path / "all", "videos", "test")) == []


def _append(folder: Path) -> None:
    with (folder / "votes" / "train.parquet").open("ab") as file:
        file.write(b"\0")


def _less_left_out(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"removed": 1', '"removed": 0'))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: None, None),
        (_append, r"votes/train\.parquet .* was changed"),
        (lambda folder: (folder / "README.md").unlink(), r"lacks README\.md"),
        (lambda folder: (folder / "more.parquet").write_bytes(b""), r"does not name: more\.parquet"),
        (_less_left_out, "its root is not that"),
        (lambda folder: (folder / "manifest.json").unlink(), "is no data set"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "is no data set"),
    ],
    ids=["nothing", "a byte", "a file less", "a file more", "a number", "no manifest", "nonsense"],
)
def test_whatever_is_changed_afterwards_is_seen(
    tmp_path: Path, change: Callable[[Path], object], words: str | None
) -> None:
    """By a sentence that names it; unchanged, the data set is whole."""
    folder = tmp_path / "set"
    write(folder, busy())
    change(folder)
    if words is None:
        assert verify(folder) == read_manifest(folder)
        return
    with pytest.raises(DatasetError, match=words):
        verify(folder)


def test_an_earlier_data_set_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    """A folder with anything else stays as it is, and so does a file."""
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder, busy())
    later = write(folder, busy(1))
    assert verify(folder) == later
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    for place, words in ((tmp_path / "photos", "something else"), (tmp_path / "photos" / "cat.jpg", "is a file")):
        with pytest.raises(DatasetError, match=words):
            write(place, busy())
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "set"]


def test_an_export_that_dies_leaves_the_earlier_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, with its root; the next export begins clean, whatever the dead one has left."""
    folder = tmp_path / "set"
    first = write(folder, busy())
    script = SCRIPT.replace(
        "print(", "import generation.feedback.dataset.files as f, os\nf.readme = lambda *a, **k: os._exit(9)\nprint("
    )
    died = subprocess.run([sys.executable, "-c", script, str(folder), "1"], cwd=ROOT, check=False)
    assert died.returncode == 9
    assert verify(folder) == first
    assert (tmp_path / ".set.draft").exists()
    later = write(folder, busy(1))
    assert verify(folder) == later
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    monkeypatch.setattr(files, "readme", lambda *args, **values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(folder, busy())
    assert verify(folder) == later
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_where_names_cannot_be_exchanged_the_earlier_data_set_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a death between its two renames, also where the next export comes to nothing; else the new one stands."""
    monkeypatch.setattr(files, "exchange_names", lambda *_: False)
    old = write(tmp_path / "set", busy()).root
    (tmp_path / "set").rename(tmp_path / ".set.old")
    with monkeypatch.context() as patch:
        patch.setattr(files, "readme", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(tmp_path / "set", busy(1))
    assert verify(tmp_path / "set").root == old
    new = write(tmp_path / "set", busy(1)).root
    assert verify(tmp_path / "set").root == new != old
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_draft_that_cannot_get_its_name_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier data set has its name again."""
    monkeypatch.setattr(files, "exchange_names", lambda *_: False)
    old, rename = write(tmp_path / "set", busy()).root, Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith(".draft"):
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no"):
        write(tmp_path / "set", busy(1))
    assert verify(tmp_path / "set").root == old
