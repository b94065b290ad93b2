"""The remaining seconds of a render, learned on this machine from each phase of the last renders of its kind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from generation.render_messages import LoadedModel
from generation.strict_json import JsonObject
from migrations.files import write_private

MOST_RENDERS = 20  # renders of a kind
PHASES = ("loading", "prompt", "step", "decoding", "encoding")

Seconds = dict[str, float]


class History:
    """The timings of one model's renders here, in a file of the data folder; one that cannot be read is no history."""

    def __init__(self, data_dir: Path, model_id: str) -> None:
        self._path = data_dir / "timings" / f"{model_id}.json"

    def usual(self, kind: str) -> Seconds:
        """Return the medians by phase of the renders of that kind; empty when there are none."""
        past = [entry for entry in self._read() if entry.get("kind") == kind]
        usual = {}
        for phase in PHASES:
            values = [value for entry in past if isinstance(value := entry.get(phase), int | float)]
            if values:
                usual[phase] = statistics.median(values)
        return usual

    def add(self, kind: str, seconds: Mapping[str, float]) -> None:
        """Remember one render; the oldest of its kind is forgotten. Raises OSError."""
        entries = self._read()
        of_kind = [entry for entry in entries if entry.get("kind") == kind][1 - MOST_RENDERS :]
        of_other_kinds = [entry for entry in entries if entry.get("kind") != kind][-5 * MOST_RENDERS :]
        new = {"kind": kind, **{phase: seconds[phase] for phase in PHASES if phase in seconds}}
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._path, json.dumps([*of_other_kinds, *of_kind, new]).encode())

    def _read(self) -> list[JsonObject]:
        with contextlib.suppress(OSError, ValueError):
            entries = json.loads(self._path.read_text())
            if isinstance(entries, list):
                return [entry for entry in entries if isinstance(entry, dict)]
        return []


def kind_of(model: LoadedModel) -> str:
    """Return one name for renders that take the same time: of revision, preset, device and settings."""
    json_object = model.to_json()
    facts = {name: json_object[name] for name in ("revision", "preset", "device", "settings")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class Estimate:
    """The remaining seconds of one render, tick by tick: steps by their own pace, and the rest by history."""

    def __init__(self, usual: Seconds, *, whole: float | None = None) -> None:
        """`whole` is the seconds of such a video elsewhere, for a worker without history."""
        self._usual = usual
        self._whole = whole
        self._start = time.monotonic()
        self._phase, self._since = "", self._start
        self._first: tuple[float, int] | None = None  # when the first step ended, and its number

    def remaining(self, phase: str, step: int, steps: int) -> float | None:
        """Return the seconds until the file is there; None when nothing is known yet."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._since, self._first = phase, now, None
        usual, seconds = self._usual, None
        after = usual.get("decoding", 0.0) + usual.get("encoding", 0.0)
        if phase == "denoising":
            pace = self._pace(now, step)
            if pace is not None:
                seconds = pace * (steps - step) + after
                if step == 0:
                    seconds += max(0.0, usual.get("prompt", 0.0) - (now - self._since))
        elif phase == "encoding" and after:
            seconds = max(0.0, after - (now - self._since))
        elsewhere = None if self._whole is None else max(0.0, self._whole - (now - self._start))
        if seconds is None or not after:  # without history the end of the work is not in sight
            seconds = max((value for value in (seconds, elsewhere) if value is not None), default=None)
        return seconds

    def _pace(self, now: float, step: int) -> float | None:
        """Return the seconds of a step: this render's own once two have passed, and the usual ones before."""
        if step and (self._first is None or self._first[1] >= step):
            self._first = (now, step)
        if self._first is not None and step > self._first[1]:
            return (now - self._first[0]) / (step - self._first[1])
        return self._usual.get("step")
