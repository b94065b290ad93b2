"""What crosses between bot and worker: it is read as it was written, also from an older release, or is no job."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from generation.jobs import PART_BYTES, JobEnd, OriginalJob, ReleaseName, RenderJob, RenderResult, UploadJob, parts_of

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
