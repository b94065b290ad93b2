"""The counts of an exported data set, compared with the votes on the ledger.

Votes of members who opted out are left out of a data set, and the manifest says how many. So no video may have more
votes there than on the ledger, and what is lacking in all must be no more than what was left out.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.audit.attempts import DATASET
from contracts.audit.replay import Replay
from contracts.ledger.client import Tally
from contracts.manifests import canonical_json, document_hash, hex_digits

NOT_ON_LEDGER = ("rejected_by_ledger",)  # reasons for leaving out a vote that the ledger does not hold either


class DatasetError(ValueError):
    """A folder is no data set whose counts can be compared; the sentence says why."""


@dataclass(frozen=True)
class DatasetCounts:
    """The votes by a data set. `rounds` and the keys of `tallies` are keys of the ledger, 64 hex digits.

    `votes_left_out` counts votes on the videos that are in; `videos_left_out` the videos of these rounds that are not.
    """

    root: str
    rounds: tuple[str, ...]
    tallies: Mapping[str, Tally]
    votes_left_out: int
    videos_left_out: int


def counts_of(manifest: bytes, tallies: Mapping[str, tuple[int, int]]) -> DatasetCounts:
    """Return the counts of a data set from its manifest and the votes of each video, up and down, by the video's key.

    Raises DatasetError for a manifest that lacks a field.
    """
    try:
        fields = json.loads(manifest)
        left_out = fields.get("left_out", {})
        votes = {reason: int(count) for reason, count in left_out.get("votes", {}).items()}
        return DatasetCounts(
            root=hex_digits(fields["root"], "data set's root"),
            rounds=tuple(hex_digits(each["key"], "round's key") for each in fields["rounds"]),
            tallies={hex_digits(key, "video's key"): Tally(*counts) for key, counts in tallies.items()},
            votes_left_out=sum(count for reason, count in votes.items() if reason not in NOT_ON_LEDGER),
            videos_left_out=sum(int(count) for count in left_out.get("videos", {}).values()),
        )
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"The data set's manifest cannot be read ({type(error).__name__}: {error}).") from error


def read_manifest(folder: Path) -> bytes:
    """Return the manifest of a data set's folder. Raises DatasetError where there is none, or it was changed."""
    try:
        content = (folder / "manifest.json").read_bytes()
        fields = json.loads(content)
        root = fields.pop("root")
    except (OSError, ValueError, RecursionError, KeyError, AttributeError) as error:
        raise DatasetError(f"{folder} is no data set: it has no manifest.json that can be read.") from error
    if document_hash(canonical_json(fields)) != root:
        raise DatasetError(f"The manifest of {folder} was changed: its root is not that of what it says.")
    return content


def read_tallies(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the votes of each video, up and down, by the video's key, from the tables of a data set's folder.

    Raises DatasetError where a table was changed, cannot be read, or pyarrow is missing.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DatasetError('Reading a data set needs pyarrow: install it with pip install "flock[export]".') from error
    entries = json.loads(read_manifest(folder)).get("files", {})
    tallies: dict[str, tuple[int, int]] = {}
    for path in sorted((folder / "videos").glob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        try:
            content = path.read_bytes()
            if entries.get(name, {}).get("sha256") != document_hash(content):
                raise DatasetError(f"{name} of the data set was changed: its hash is not the manifest's.")
            table = parquet.read_table(io.BytesIO(content), columns=["video", "up", "down"])
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(f"{name} of the data set cannot be read ({type(error).__name__}).") from error
        tallies |= {row["video"]: (row["up"], row["down"]) for row in table.to_pylist()}
    return tallies


def check_dataset(replay: Replay, data: DatasetCounts) -> Iterator[str]:
    """Yield a sentence for everything in a data set that does not follow from the ledger's votes."""
    if not any(old.kind == DATASET and old.root.hex() == data.root for old in replay.committed.values()):
        yield f"The data set {data.root[:8]}… was never committed to on the ledger."
    numbers = {replay.rounds[number].key.hex(): number for number in replay.rounds}
    unknown = [key for key in data.rounds if key not in numbers]
    for key in unknown:
        yield f"The data set has a round {key[:8]}… that the ledger does not hold."
    rounds = {numbers[key] for key in data.rounds if key not in unknown}
    for number in sorted(rounds):
        if replay.rounds[number].winner is None:
            yield f"Round {number} of the data set is not final on the ledger: its votes may still change."
    videos = {replay.videos[video].key.hex(): video for number in rounds for video in replay.videos_of(number)}
    lacking = 0
    for key, tally in sorted(data.tallies.items()):
        if key not in videos:
            yield f"The data set has a video {key[:8]}… that is in none of its rounds on the ledger."
            continue
        there = replay.videos[videos[key]].tally
        if tally.up > there.up or tally.down > there.down:
            yield (
                f"The data set has {tally.up} up and {tally.down} down for video {videos[key]}; the ledger has "
                f"{there.up} up and {there.down} down."
            )
        lacking += max(0, there.up - tally.up) + max(0, there.down - tally.down)
    if lacking > data.votes_left_out:
        left_out = data.votes_left_out
        yield f"The data set lacks {lacking} votes that the ledger has, and says that {left_out} were left out."
    missing = len(videos.keys() - data.tallies.keys())
    if missing > data.videos_left_out:
        yield (
            f"The data set lacks {missing} videos of its rounds, and says that {data.videos_left_out} were left out."
        )
