"""What crosses between bot and worker: it is read as it was written, also from an older release, or is no job."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from generation.jobs import (
    MOST_CHOICES,
    PART_BYTES,
    BestOf,
    CandidateJob,
    JobEnd,
    OriginalJob,
    ReleaseName,
    RenderJob,
    RenderResult,
    TrainingJob,
    TrainingResult,
    UploadJob,
    candidates_queue,
    gpu_queue,
    parts_of,
    release_queue,
    training_queue,
)

JOB = RenderJob("42", "a red \ud83d circle", 2**62 + 1, "tiny", fit_bytes=100)
UPLOAD = UploadJob("42", "asset", "", "v.mp4", "s", presigned={"parts": [{"url": "https://s3/secret"}]}, shortest_s=2)
ORIGINAL = OriginalJob("42", "v.mp4", "s", 9)


@pytest.mark.parametrize("job", [JOB, UPLOAD, ORIGINAL], ids=lambda job: type(job).__name__)
def test_a_job_is_read_as_it_was_written(job: RenderJob | UploadJob | OriginalJob) -> None:
    """As JSON; a field that is new to this release, or missing, makes it no job."""
    data = json.loads(json.dumps(job.to_json()))
    assert type(job).from_json(data) == job
    with pytest.raises(ValueError, match="has no field 'colour'"):
        type(job).from_json({**data, "colour": "red"})
    del data["video_id"]
    with pytest.raises(ValueError, match="lacks the field 'video_id'"):
        type(job).from_json(data)


def test_a_job_of_an_earlier_release_is_read() -> None:
    """It says nothing of what came later."""
    old = {"video_id": "42", "prompt": "p", "seed": 7, "model_id": "tiny"}
    assert RenderJob.from_json(old) == RenderJob("42", "p", 7, "tiny")


@pytest.mark.parametrize(
    "change",
    [{"video_id": "../../x"}, {"video_id": 42}, {"seed": "7"}, {"prompt": None}, {"fit_bytes": 0}, {"fit_bytes": "9"}],
)
def test_what_no_bot_asks_for_is_no_job(change: dict[str, Any]) -> None:
    """An id becomes a file's name on the worker."""
    with pytest.raises(ValueError, match=r"."):
        RenderJob.from_json({**JOB.to_json(), **change})


def test_a_release_is_in_a_job_only_where_there_is_one() -> None:
    """Older workers read all other jobs; a release is a number and a hash."""
    assert "release" not in JOB.to_json()
    job = replace(JOB, release=ReleaseName(3, "ad" * 32))
    assert RenderJob.from_json(json.loads(json.dumps(job.to_json()))) == job
    candidate = replace(JOB, release=ReleaseName(None, "ad" * 32))  # in a battle round: it is no release yet
    assert RenderJob.from_json(json.loads(json.dumps(candidate.to_json()))) == candidate
    for odd in ({"number": 0, "adapter_sha256": "ad" * 32}, {"number": 1, "adapter_sha256": "../x"}, {"number": 1}):
        with pytest.raises(ValueError, match=r"."):
            RenderJob.from_json({**JOB.to_json(), "release": odd})


def test_a_choice_is_in_a_job_only_where_there_is_one() -> None:
    """Of two videos or more, by a hash; only workers of today are asked for it, with a release or without."""
    assert "best_of" not in JOB.to_json()
    job = replace(JOB, best_of=BestOf(4, "7a" * 32))
    assert RenderJob.from_json(json.loads(json.dumps(job.to_json()))) == job
    for odd in ({"count": 1}, {"count": MOST_CHOICES + 1}, {"taste_sha256": "../x"}):
        with pytest.raises(ValueError, match="A choice is among 2 to 16 videos"):
            RenderJob.from_json({**JOB.to_json(), "best_of": {"count": 4, "taste_sha256": "7a" * 32, **odd}})
    assert JOB.queue("large") == gpu_queue("large", "tiny")
    released = replace(JOB, release=ReleaseName(3, "ad" * 32))
    assert {each.queue("large") for each in (job, released)} == {release_queue("large", "tiny")}


@pytest.mark.parametrize("data", [None, [], "job"])
def test_only_an_object_is_a_job(data: object) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        RenderJob.from_json(data)


def test_a_credential_is_not_shown() -> None:
    """An upload job may be logged; its addresses are credentials."""
    assert "secret" not in repr(UPLOAD)


def test_a_result_says_only_what_there_is() -> None:
    """Without card and findings it is as earlier bots know it; an end says why."""
    plain = RenderResult("v", "p", "s", 1, 2, 3, 8.0, 9, 1.5, "tiny", "r", "m")
    assert not {"provenance", "findings"} & set(plain.to_json())
    assert plain.to_json()["outcome"] == "done"
    assert JobEnd("cancelled", "Cancelled.").to_json() == {"outcome": "cancelled", "reason": "Cancelled."}


def test_a_file_is_sent_in_whole_parts() -> None:
    """The last one may be smaller."""
    assert [parts_of(size) for size in (1, PART_BYTES, PART_BYTES + 1)] == [1, 1, 2]


TRAINING = TrainingJob(3, "tiny", "r1", "da" * 32, "ab" * 32, 900, {"method": "nft"}, ReleaseName(2, "ad" * 32))


def test_a_training_is_read_as_it_was_written() -> None:
    """Job and result; what the bot never asks for is none, and no part of a path."""
    assert TrainingJob.from_json(json.loads(json.dumps(TRAINING.to_json()))) == TRAINING
    for odd in (
        {"candidate_id": 0}, {"examples_sha256": "../x"}, {"data_root": "x"}, {"guard_videos": -1}, {"recipe": "nft"},
        {"release": {"number": 0, "adapter_sha256": "ad" * 32}}, {"colour": "red"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            TrainingJob.from_json({**TRAINING.to_json(), **odd})
    result = TrainingResult("ad" * 32, 9, "m1", 4, 0.05, 9.0, True, ["A sentence."], [], [])
    assert TrainingResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    with pytest.raises(ValueError, match="named by its hash"):
        TrainingResult.from_json({**result.to_json(), "adapter_sha256": "../x"})
    with pytest.raises(ValueError, match="named by its hash"):
        CandidateJob.from_json(CandidateJob(1, "../x", 9).to_json())
    with pytest.raises(ValueError, match="so is a taste scorer"):
        TrainingResult.from_json({**result.to_json(), "taste_sha256": "../x"})
    with pytest.raises(ValueError, match="so is a taste scorer"):
        CandidateJob.from_json(CandidateJob(1, "ad" * 32, 9, "../x").to_json())


def test_trainings_have_queues_of_their_own() -> None:
    """A worker that renders serves none of them; the names of classes and models are checked as elsewhere."""
    assert training_queue("large", "wan-14b") == "train.large:wan-14b"
    assert candidates_queue("0a1b2c") == "upload.0a1b2c.candidates"
    with pytest.raises(ValueError, match="A model's id is a short lowercase word"):
        training_queue("large", "Wan 14B")
