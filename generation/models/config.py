"""The models file: what may stand in it, checked value by value. Whatever is wrong is answered with a sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generation.models.presets import CACHES, DTYPES, FLAGS, OFFLOADS, WHOLE, Family, checked, read_families

TINY = "tiny"
QUANTISATIONS = ("torchao-int8", "torchao-float8", "bitsandbytes-int8", "bitsandbytes-nf4", "quanto-int8")
MOST_CLASSIFIED = 64  # frames of a video

# What of a preset a model may change for itself.
LOOKS = {*WHOLE, *FLAGS, "guidance", "negative_prompt", "shift", "scheduler", "scheduler_options", "arguments"}
LOOKS -= {"frame_step", "frame_offset", "size_step", "pass_frames", "vae_float32"}
LOOKS -= {f"{bound}_{name}" for bound in ("most", "least") for name in ("frames", "width", "height")}
PLACE = {
    "source",
    "revision",
    "pipeline",
    "dtype",
    "offload",
    "quantise",
    "quantise_components",
    "compile",
    "cache",
    "cache_threshold",
    "attention",
    "context_parallel",
    "adapters",
    "components",
    "license",
    "gated",
}

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEVICE = re.compile(r"cpu|cuda(:[0-9]{1,2})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")


class ModelError(ValueError):
    """A model cannot be used as it is configured; the message says what to change."""


def read_model(model_id: str, table: Any) -> dict[str, Any]:
    """The checked settings of one model, with those of its preset under `overrides`. Raises ModelError."""
    if not _ID.fullmatch(model_id) or not isinstance(table, dict):
        raise ModelError(f"A model is a table [models.ID] whose ID is a short lowercase word, not {model_id!r}.")
    if unknown := sorted(set(table) - PLACE - LOOKS):
        known = ", ".join(sorted(PLACE | LOOKS))
        raise ModelError(f"Model {model_id} has an unknown setting {unknown[0]!r}; known are {known}.")
    where = f"Model {model_id}"
    source = table.get("source", TINY if model_id == TINY else None)
    if not isinstance(source, str) or not source:
        raise ModelError(f"Model {model_id} needs a source: a repository id, a folder, or {TINY!r}.")
    revision = table.get("revision")
    if source != TINY:
        revision = _pinned(where, source, revision)
    try:
        overrides = checked(where, {name: value for name, value in table.items() if name in LOOKS})
    except ValueError as error:
        raise ModelError(str(error)) from None
    read: dict[str, Any] = {"source": source, "revision": None if source == TINY else revision, "overrides": overrides}
    read["dtype"] = None if table.get("dtype") is None else _dtype(where, table["dtype"])
    for name, choices in (("offload", OFFLOADS), ("quantise", QUANTISATIONS), ("cache", CACHES)):
        read[name] = None if table.get(name) is None else _one_of(where, name, table[name], choices)
    for name in ("compile", "gated"):
        read[name] = _is(where, name, table.get(name, False), bool, "true or false")
    read["license"] = _is(where, "license", table.get("license"), str | None, "text")
    read["cache_threshold"] = _threshold(where, table.get("cache_threshold"))
    _check_gpus(where, table.get("context_parallel", 1))
    for name in ("pipeline", "attention"):
        read[name] = _word(where, name, table.get(name))
    if (read["attention"] or "").endswith("_hub"):
        raise ModelError(f"{where}: attention = {read['attention']!r} would fetch code; use one that is installed.")
    names = _is(where, "quantise_components", table.get("quantise_components", []), list, "a list of components")
    read["quantise_components"] = [str(_word(where, "quantise_components", name)) for name in names]
    read["adapters"] = [_adapter(where, entry) for entry in _tables(where, "adapters", table.get("adapters", []))]
    parts = _is(where, "components", table.get("components", {}), dict, "a table of components")
    read["components"] = {name: _component(f"{where}, component {name}", part) for name, part in parts.items()}
    return read


def read_classifier(table: Any) -> dict[str, Any]:
    """The checked `[classifier]` that looks at every video of this worker. Raises ModelError."""
    where = "The classifier"
    table = _is(where, "it", table, dict, "a table [classifier]")
    _known(where, table, {"source", "revision", "labels", "frames", "device"})
    source = _is(where, "source", table.get("source"), str, "a repository id or a folder")
    labels = _is(where, "labels", table.get("labels"), dict, "a table of labels with the score each flags from")
    for label, score in labels.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 < score <= 1:
            raise ModelError(f"{where}: labels.{label} = {score!r} is not a score above 0, at most 1.")
    if not labels:
        raise ModelError(f"{where} needs labels, such as labels = {{ nsfw = 0.8 }}: without any it flags nothing.")
    frames = table.get("frames", 8)
    if isinstance(frames, bool) or not isinstance(frames, int) or not 1 <= frames <= MOST_CLASSIFIED:
        raise ModelError(f"{where}: frames = {frames!r} is not a number from 1 to {MOST_CLASSIFIED}.")
    device = table.get("device", "cpu")
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise ModelError(f"{where}: device = {device!r}; use cpu, cuda or cuda:N.")
    revision = _pinned(where, source, table.get("revision"))
    scores = {str(label): float(score) for label, score in labels.items()}
    return {"source": source, "revision": revision, "labels": scores, "frames": frames, "device": device}


def read_family_tables(tables: Any, where: str) -> Mapping[str, Family]:
    """The operator's own families, `[families.CLASS]`. Raises ModelError."""
    if not isinstance(tables, dict):
        raise ModelError(f"{where}: families are tables [families.CLASS].")
    try:
        return read_families(tables, where)
    except ValueError as error:
        raise ModelError(str(error)) from None


def is_folder(source: str) -> bool:
    """Whether a source is a folder on this machine."""
    return os.path.isdir(source)  # noqa: PTH112  # Path raises for a name that is too long


def named(source: str, part: str | None = None) -> str:
    """A source, or a part of it, as sentences name it: without the path of a folder on this machine."""
    return "/".join(filter(None, (Path(source).name if is_folder(source) else source, part)))


def _pinned(where: str, source: str, revision: Any) -> str | None:
    """The revision of a source: a commit for a repository, whose contents may change under any other name."""
    if revision is not None and not (isinstance(revision, str) and revision.strip()):
        raise ModelError(f"{where}: revision = {revision!r} is not text, or is empty.")
    if is_folder(source):
        return revision
    if revision is None:
        raise ModelError(
            f"{where} needs a revision (a commit of {source}), so that its videos can be made again; "
            "or a source that is a folder on this machine."
        )
    if not _REPOSITORY.fullmatch(source):
        raise ModelError(f"{where}: source = {source!r} is neither a folder on this machine nor a repository id (a/b).")
    if not _COMMIT.fullmatch(str(revision)):
        raise ModelError(
            f"{where}: revision = {revision!r} is no commit. A branch or a tag can be moved to other weights: "
            f"write the 40 hex digits of a commit, as the repository's list of commits shows them."
        )
    return str(revision)


def _adapter(where: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    where = f"{where}, an adapter"
    _known(where, entry, {"source", "revision", "weight_name", "scale"})
    source = _is(where, "source", entry.get("source"), str, "a repository id or a folder")
    weight_name = _is(where, "weight_name", entry.get("weight_name"), str, "the name of a .safetensors file")
    if not weight_name.endswith(".safetensors") or ".." in weight_name or weight_name.startswith("/"):
        raise ModelError(f"{where}: weight_name = {weight_name!r} is not a .safetensors file; others may hold code.")
    scale = entry.get("scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not -10 <= scale <= 10:
        raise ModelError(f"{where}: scale = {scale!r} is not a number from -10 to 10.")
    revision = _pinned(where, source, entry.get("revision"))
    return {"source": source, "revision": revision, "weight_name": weight_name, "scale": float(scale)}


def _component(where: str, entry: Any) -> dict[str, Any]:
    entry = _is(where, "it", entry, dict, "a table")
    _known(where, entry, {"source", "revision", "subfolder"})
    source = _is(where, "source", entry.get("source"), str, "a repository id or a folder")
    subfolder = _is(where, "subfolder", entry.get("subfolder"), str | None, "text")
    return {"source": source, "revision": _pinned(where, source, entry.get("revision")), "subfolder": subfolder}


def _dtype(where: str, value: Any) -> str | dict[str, str]:
    if not isinstance(value, dict):
        return _one_of(where, "dtype", value, DTYPES)
    return {
        str(_word(where, "dtype", name)): _one_of(where, f"dtype.{name}", one, DTYPES) for name, one in value.items()
    }


def _threshold(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ModelError(f"{where}: cache_threshold = {value!r} is not a number above 0, at most 1.")
    return float(value)


def _check_gpus(where: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"{where}: context_parallel = {value!r} is not a number of GPUs.")
    if value != 1:
        raise ModelError(
            f"{where}: context_parallel = {value}, but a worker renders on one GPU. Remove it, and run a worker on "
            "each GPU (CUDA_VISIBLE_DEVICES): that serves as many members at a time."
        )


def _word(where: str, name: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise ModelError(f"{where}: {name} = {value!r} is not a name.")
    return value


def _one_of(where: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ModelError(f"{where}: {name} = {value!r}; use one of {', '.join(choices)}.")
    return str(value)


def _is(where: str, name: str, value: Any, kind: Any, wanted: str) -> Any:
    if not isinstance(value, kind):
        raise ModelError(f"{where}: {name} = {value!r} is not {wanted}.")
    return value


def _tables(where: str, name: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ModelError(f"{where}: {name} is a list of tables, [[models.ID.{name}]].")
    return value


def _known(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(table) - known):
        raise ModelError(f"{where} has an unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}.")
