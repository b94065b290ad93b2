"""The rendered files on this machine: its name, and the note beside each video that makes a repeated render free."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from dataclasses import asdict
from pathlib import Path

from generation.jobs import RenderJob
from generation.strict_json import JsonObject
from migrations.files import create_private, sha256_file, write_private


def machine_name(data_dir: Path) -> str:
    """Return the machine's name, made once and stored beside its files: uploads go to the machine that has the file.

    Raises ValueError when the file with the name is damaged.
    """
    path = data_dir / "machine"
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        with contextlib.suppress(FileExistsError):  # another worker on this machine was quicker
            create_private(path, secrets.token_hex(6).encode())
    name = path.read_text().strip()
    if not re.fullmatch(r"[0-9a-f]{12}", name):
        raise ValueError(f"{path} is damaged; remove it, and uploads that wait for this machine are rendered anew.")
    return name


def sha256_of(path: Path) -> str | None:
    """Return the file's hash in hex; None when it cannot be read."""
    try:
        return sha256_file(path)
    except OSError:
        return None


def _job_hash(job: RenderJob) -> str:
    release = "" if job.release is None else f"{job.release.adapter_sha256}\0"
    release += "" if job.best_of is None else f"{job.best_of.count} {job.best_of.taste_sha256}\0"
    return hashlib.sha256(f"{release}{job.model_id}\0{job.seed}\0{job.prompt}".encode()).hexdigest()


def finished_result(video: Path, job: RenderJob, revision: str | None) -> JsonObject | None:
    """Return the result of an earlier attempt at exactly this job, if its files are whole."""
    try:
        sidecar = json.loads(video.with_suffix(".json").read_text())
        result = sidecar["result"]
        is_of_job = sidecar["job"] == _job_hash(job) and result["model_revision"] == revision
        # A file above the limit is made again: it was made for a higher one, or could not be smaller.
        fits = job.fit_bytes is None or int(result["size_bytes"]) <= job.fit_bytes
        whole = video.with_suffix(".jpg").is_file() and result["sha256"] == sha256_of(video)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    paths = {"video_path": str(video), "poster_path": str(video.with_suffix(".jpg"))}
    if job.release is not None:  # the same adapter may have got another number
        result = {**result, "release": asdict(job.release)}
    return _with_prompt({**result, **paths}, job.prompt) if is_of_job and fits and whole else None


def _with_prompt(result: JsonObject, prompt: str | None) -> JsonObject:
    """Return the result with this prompt on its card; None removes the prompt."""
    card = result.get("provenance")
    return {**result, "provenance": {**card, "prompt": prompt}} if isinstance(card, dict) else result


def remember_result(video: Path, job: RenderJob, result: JsonObject) -> None:
    """Write the note beside the video, whole or not at all; it has a hash of the prompt, not the prompt."""
    note = {"job": _job_hash(job), "result": _with_prompt(result, None)}
    write_private(video.with_suffix(".json"), json.dumps(note).encode())
