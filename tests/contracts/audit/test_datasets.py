"""The counts of a data set follow from the ledger's votes, less those that it says were left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.audit.datasets import (
    DatasetCounts,
    DatasetError,
    check_dataset,
    counts_of,
    read_manifest,
    read_tallies,
)
from contracts.audit.replay import Replay
from contracts.ledger.batch_codec import Ballot, encode, encode_arrivals, number_of
from contracts.ledger.client import Tally
from contracts.manifests import document_hash
from tests.builders.battles import DATASET
from tests.builders.ledger_log import Log, digest

ROUND, A, B = f"{1:064x}", digest("a").hex(), digest("b").hex()
MANIFEST: dict[str, Any] = {
    "root": DATASET, "rounds": [{"key": ROUND, "number": 1}],
    "left_out": {"votes": {"voter_opted_out": 1, "rejected_by_ledger": 5}, "videos": {"removed": 0}},
}  # fmt: skip
TALLIES = {A: (2, 0), B: (0, 1)}  # of (2, 1) and (0, 1) on the ledger: one voter opted out


def ledger(*, final: bool = True, committed: bool = True) -> Replay:
    log = Log()
    if committed:
        log.dataset()
    number = log.open(b"a task")
    for place, name in enumerate("ab", start=1):
        log.add(
            "VideoAdded", video=number_of(1, place), round=1, key=digest(name), playback_id="", prompt_hash=b"",
            content_hash=b"", model_hash=b"",
        )  # fmt: skip
    votes = [(1, 1, 1), (1, 2, 1), (1, 3, 2), (2, 1, 2)]
    words = encode([Ballot(number_of(1, place), voter - 1, choice) for place, voter, choice in votes])
    log.add("VotesRecorded", seq=0, round=number, at=5, first_seat=0, arrivals=encode_arrivals([1, 2, 3]), words=words)
    if final:
        log.add("RoundFinalized", round=number, winner=number_of(1, 1), up=2, down=1)
    replay = log.replay()
    assert replay.problems == []
    return replay


def problems_of(replay: Replay, tallies: dict[str, tuple[int, int]] | None = None, **manifest: Any) -> list[str]:
    text = json.dumps(MANIFEST | manifest).encode()
    return list(check_dataset(replay, counts_of(text, TALLIES if tallies is None else tallies)))


def test_counts_that_follow_from_the_votes_pass() -> None:
    """What lacks is what was left out; votes that the ledger rejected lack on both sides."""
    assert problems_of(ledger()) == []


@pytest.mark.parametrize(
    ("tallies", "words"),
    [
        ({A: (3, 0), B: (0, 1)}, "has 3 up and 0 down for video 1025; the ledger has 2 up and 1 down"),
        ({A: (2, 1), B: (1, 0)}, "has 1 up and 0 down for video 1026"),
        ({A: (1, 0), B: (0, 1)}, "lacks 2 votes that the ledger has, and says that 1 were left out"),
        ({A: (2, 0)}, "lacks 1 videos of its rounds, and says that 0 were left out"),
        ({**TALLIES, digest("c").hex(): (0, 0)}, "is in none of its rounds"),
    ],
)
def test_a_changed_vote_or_video_is_found(tallies: dict[str, tuple[int, int]], words: str) -> None:
    """More votes than there are, fewer than is told, and videos that came or went."""
    found = problems_of(ledger(), tallies)
    assert any(words in problem for problem in found), found


def test_a_root_that_was_never_committed_to_and_an_unknown_round_are_found() -> None:
    """Anybody could make such a folder."""
    assert any("never committed to" in problem for problem in problems_of(ledger(committed=False)))
    assert any("never committed to" in problem for problem in problems_of(ledger(), root="77" * 32))
    found = problems_of(ledger(), rounds=[*MANIFEST["rounds"], {"key": "77" * 32, "number": 2}])
    assert found == ["The data set has a round 77777777… that the ledger does not hold."]


def test_a_round_whose_votes_may_still_change_is_found() -> None:
    """Its data set is no record of anything yet."""
    assert any("is not final on the ledger" in problem for problem in problems_of(ledger(final=False)))


def test_a_folder_without_a_manifest_is_a_sentence(tmp_path: Path) -> None:
    """So is a manifest that lacks something, and one that was changed."""
    with pytest.raises(DatasetError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(json.dumps(MANIFEST).encode())
    with pytest.raises(DatasetError, match="was changed"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(json.dumps({"root": document_hash(b"{}")}).encode())
    with pytest.raises(DatasetError, match="cannot be read"):
        counts_of(read_manifest(tmp_path), {})
    for text in (b"[]", b"x", json.dumps(MANIFEST | {"root": "x"}).encode()):
        with pytest.raises(DatasetError):
            counts_of(text, {})


def exported(folder: Path) -> DatasetCounts:
    return counts_of(read_manifest(folder), read_tallies(folder))


def test_an_exported_folder_is_read_from_its_tables(tmp_path: Path) -> None:
    """Both splits; a table that was changed since, or cut short, is a sentence."""
    pyarrow = pytest.importorskip("pyarrow", reason="Reading a data set needs the extra export.")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Reading a data set needs the extra export.")
    (tmp_path / "videos").mkdir()
    files = {}
    for split, (key, (up, down)) in zip(("train", "test"), TALLIES.items(), strict=True):
        path = tmp_path / "videos" / f"{split}.parquet"
        parquet.write_table(pyarrow.Table.from_pylist([{"video": key, "up": up, "down": down, "prompt": "p"}]), path)
        files[f"videos/{split}.parquet"] = {"sha256": document_hash(path.read_bytes())}
    facts = {name: value for name, value in MANIFEST.items() if name != "root"} | {"files": files}
    root = document_hash(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    (tmp_path / "manifest.json").write_text(json.dumps({**facts, "root": root}, indent=2))
    counts = exported(tmp_path)
    assert (counts.root, counts.tallies) == (root, {key: Tally(*tally) for key, tally in TALLIES.items()})
    assert (counts.votes_left_out, counts.videos_left_out, counts.rounds) == (1, 0, (ROUND,))
    path = tmp_path / "videos" / "test.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"videos/test\.parquet of the data set was changed"):
        exported(tmp_path)
