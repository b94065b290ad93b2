"""The models file: its allowed settings, checked value by value. Whatever is wrong is answered with a sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, TypeGuard, TypeVar

from generation.models.presets import (
    CACHES,
    DTYPES,
    FLAGS,
    OFFLOADS,
    WHOLE,
    Family,
    PresetValues,
    check_values,
    read_families,
)

TINY = "tiny"
QUANTISATIONS = ("torchao-int8", "torchao-float8", "bitsandbytes-int8", "bitsandbytes-nf4", "quanto-int8")
MOST_CLASSIFIED = 64  # frames of a video

# The values of a preset that a model may change for itself.
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

T = TypeVar("T")


class ModelError(ValueError):
    """A model cannot be used as it is configured; the message says what to change."""


class Adapter(TypedDict):
    """An adapter (LoRA) that is loaded onto a model."""

    source: str
    revision: str | None
    weight_name: str
    scale: float


class Component(TypedDict):
    """A component that a model takes from another source."""

    source: str
    revision: str | None
    subfolder: str | None


class ClassifierSettings(TypedDict):
    """The classifier that looks at each video: `labels` maps a label to the score from which it flags a frame."""

    source: str
    revision: str | None
    labels: dict[str, float]
    frames: int
    device: str


@dataclass(frozen=True)
class ModelSettings:
    """The checked settings of one model, as its table in the models file has them; see `registry.Model`."""

    source: str
    revision: str | None
    overrides: PresetValues
    dtype: str | dict[str, str] | None
    offload: str | None
    quantise: str | None
    quantise_components: list[str]
    compile: bool
    cache: str | None
    cache_threshold: float | None
    attention: str | None
    pipeline: str | None
    adapters: list[Adapter]
    components: dict[str, Component]
    license: str | None
    gated: bool


def read_model(model_id: str, table: object) -> ModelSettings:
    """Return the checked settings of one model, with those of its preset under `overrides`. Raises ModelError."""
    if not _ID.fullmatch(model_id) or not isinstance(table, dict):
        raise ModelError(f"A model is a table [models.ID] whose ID is a short lowercase word, not {model_id!r}.")
    where = f"Model {model_id}"
    _check_keys(where, table, PLACE | LOOKS)
    source = table.get("source", TINY if model_id == TINY else None)
    if not isinstance(source, str) or not source:
        raise ModelError(f"Model {model_id} needs a source: a repository id, a folder, or {TINY!r}.")
    revision = None if source == TINY else _pinned_revision(where, source, table.get("revision"))
    try:
        overrides = check_values(where, {name: value for name, value in table.items() if name in LOOKS})
    except ValueError as error:
        raise ModelError(str(error)) from None
    _check_gpus(where, table.get("context_parallel", 1))
    attention = _word(where, "attention", table.get("attention"))
    if (attention or "").endswith("_hub"):
        raise ModelError(f"{where}: attention = {attention!r} would fetch code; use one that is installed.")
    names = _require(where, "quantise_components", table.get("quantise_components", []), list, "a list of components")
    components = _require(where, "components", table.get("components", {}), dict, "a table of components")
    return ModelSettings(
        source=source,
        revision=revision,
        overrides=overrides,
        dtype=None if table.get("dtype") is None else _dtype(where, table["dtype"]),
        offload=_choice_or_none(where, "offload", table.get("offload"), OFFLOADS),
        quantise=_choice_or_none(where, "quantise", table.get("quantise"), QUANTISATIONS),
        quantise_components=[str(_word(where, "quantise_components", name)) for name in names],
        compile=_require(where, "compile", table.get("compile", False), bool, "true or false"),
        cache=_choice_or_none(where, "cache", table.get("cache"), CACHES),
        cache_threshold=_threshold(where, table.get("cache_threshold")),
        attention=attention,
        pipeline=_word(where, "pipeline", table.get("pipeline")),
        adapters=[_adapter(where, entry) for entry in _tables(where, "adapters", table.get("adapters", []))],
        components={name: _component(f"{where}, component {name}", entry) for name, entry in components.items()},
        license=_text_or_none(where, "license", table.get("license")),
        gated=_require(where, "gated", table.get("gated", False), bool, "true or false"),
    )


def read_classifier(table: object) -> ClassifierSettings:
    """Return the checked `[classifier]` that looks at every video of this worker. Raises ModelError."""
    where = "The classifier"
    table = _require(where, "it", table, dict, "a table [classifier]")
    _check_keys(where, table, {"source", "revision", "labels", "frames", "device"})
    source = _require(where, "source", table.get("source"), str, "a repository id or a folder")
    labels = _require(where, "labels", table.get("labels"), dict, "a table of labels with the score each flags from")
    for label, score in labels.items():
        if not _is_number(score) or not 0 < score <= 1:
            raise ModelError(f"{where}: labels.{label} = {score!r} is not a score above 0, at most 1.")
    if not labels:
        raise ModelError(f"{where} needs labels, such as labels = {{ nsfw = 0.8 }}: without any it flags nothing.")
    frames = table.get("frames", 8)
    if isinstance(frames, bool) or not isinstance(frames, int) or not 1 <= frames <= MOST_CLASSIFIED:
        raise ModelError(f"{where}: frames = {frames!r} is not a number from 1 to {MOST_CLASSIFIED}.")
    device = table.get("device", "cpu")
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise ModelError(f"{where}: device = {device!r}; use cpu, cuda or cuda:N.")
    revision = _pinned_revision(where, source, table.get("revision"))
    scores = {str(label): float(score) for label, score in labels.items()}
    return {"source": source, "revision": revision, "labels": scores, "frames": frames, "device": device}


def read_family_tables(tables: object, where: str) -> Mapping[str, Family]:
    """Return the operator's own families, `[families.CLASS]`. Raises ModelError."""
    if not isinstance(tables, dict):
        raise ModelError(f"{where}: families are tables [families.CLASS].")
    try:
        return read_families(tables, where)
    except ValueError as error:
        raise ModelError(str(error)) from None


def is_folder(source: str) -> bool:
    """Return True if a source is a folder on this machine."""
    return os.path.isdir(source)  # noqa: PTH112  # Path raises for a name that is too long


def source_name(source: str, part: str | None = None) -> str:
    """Return a source, or a part of it, as sentences name it: without the path of a folder on this machine."""
    return "/".join(filter(None, (Path(source).name if is_folder(source) else source, part)))


def _pinned_revision(where: str, source: str, revision: object) -> str | None:
    """Return the revision of a source: of a repository a commit, since other names may be moved to other contents."""
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
    if not _COMMIT.fullmatch(revision):
        raise ModelError(
            f"{where}: revision = {revision!r} is no commit. A branch or a tag can be moved to other weights: "
            f"write the 40 hex digits of a commit, as the repository's list of commits shows them."
        )
    return revision


def _adapter(where: str, entry: Mapping[str, object]) -> Adapter:
    where = f"{where}, an adapter"
    _check_keys(where, entry, {"source", "revision", "weight_name", "scale"})
    source = _require(where, "source", entry.get("source"), str, "a repository id or a folder")
    weight_name = _require(where, "weight_name", entry.get("weight_name"), str, "the name of a .safetensors file")
    if not weight_name.endswith(".safetensors") or ".." in weight_name or weight_name.startswith("/"):
        raise ModelError(f"{where}: weight_name = {weight_name!r} is not a .safetensors file; others may hold code.")
    scale = entry.get("scale", 1.0)
    if not _is_number(scale) or not -10 <= scale <= 10:
        raise ModelError(f"{where}: scale = {scale!r} is not a number from -10 to 10.")
    revision = _pinned_revision(where, source, entry.get("revision"))
    return {"source": source, "revision": revision, "weight_name": weight_name, "scale": float(scale)}


def _component(where: str, entry: object) -> Component:
    entry = _require(where, "it", entry, dict, "a table")
    _check_keys(where, entry, {"source", "revision", "subfolder"})
    source = _require(where, "source", entry.get("source"), str, "a repository id or a folder")
    subfolder = _text_or_none(where, "subfolder", entry.get("subfolder"))
    return {
        "source": source,
        "revision": _pinned_revision(where, source, entry.get("revision")),
        "subfolder": subfolder,
    }


def _dtype(where: str, value: object) -> str | dict[str, str]:
    if not isinstance(value, dict):
        return _choice(where, "dtype", value, DTYPES)
    return {
        str(_word(where, "dtype", name)): _choice(where, f"dtype.{name}", dtype, DTYPES)
        for name, dtype in value.items()
    }


def _threshold(where: str, value: object) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or not 0 < value <= 1:
        raise ModelError(f"{where}: cache_threshold = {value!r} is not a number above 0, at most 1.")
    return float(value)


def _check_gpus(where: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"{where}: context_parallel = {value!r} is not a number of GPUs.")
    if value != 1:
        raise ModelError(
            f"{where}: context_parallel = {value}, but a worker renders on one GPU. Remove it, and run a worker on "
            "each GPU (CUDA_VISIBLE_DEVICES): that serves as many members at a time."
        )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _word(where: str, name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ModelError(f"{where}: {name} = {value!r} is not a name.")
    return value


def _choice(where: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ModelError(f"{where}: {name} = {value!r}; use one of {', '.join(choices)}.")
    return str(value)


def _choice_or_none(where: str, name: str, value: object, choices: tuple[str, ...]) -> str | None:
    return None if value is None else _choice(where, name, value, choices)


def _text_or_none(where: str, name: str, value: object) -> str | None:
    return None if value is None else _require(where, name, value, str, "text")


def _require(where: str, name: str, value: object, kind: type[T], expected: str) -> T:
    if not isinstance(value, kind):
        raise ModelError(f"{where}: {name} = {value!r} is not {expected}.")
    return value


def _tables(where: str, name: str, value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ModelError(f"{where}: {name} is a list of tables, [[models.ID.{name}]].")
    return value


def _check_keys(where: str, table: Mapping[str, object], allowed: Collection[str]) -> None:
    if unknown := sorted(set(table) - set(allowed)):
        raise ModelError(f"{where} has an unknown setting {unknown[0]!r}; known are {', '.join(sorted(allowed))}.")
