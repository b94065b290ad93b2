"""The models that a worker can load: where each comes from, at which revision, and how it renders."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TINY = "tiny"
REVISION_FILE = "REVISION"  # in a model's folder: what the folder holds, in one word
DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "sequential")

# What the embedded model's pictures are like; a models file may change any of it.
TINY_LOOKS: dict[str, Any] = {
    "width": 96,
    "height": 96,
    "frames": 17,
    "frame_step": 4,  # its autoencoder holds four frames in a latent, that of its family eight
    "fps": 8,
    "steps": 12,
    "guidance": 1.5,
    "upscale": 4,
    "max_sequence_length": 48,
}

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WHOLE = {"width": 2048, "height": 2048, "frames": 1025, "fps": 120, "steps": 1000, "upscale": 8}
_WHOLE["max_sequence_length"] = 4096
_PLACE = {"source", "revision", "dtype", "offload"}
_KNOWN = {*_PLACE, "guidance", "negative_prompt", *_WHOLE}


class ModelError(ValueError):
    """A model cannot be used as it is configured; the message says what to change."""


@dataclass(frozen=True)
class Model:
    """One model. `source` is a repository id or a folder; `overrides` replace values of its family's preset."""

    id: str
    source: str
    revision: str | None = None  # pinned; required for a repository, whose contents may change under its name
    dtype: str = "float32"
    offload: str = "none"  # what leaves the GPU while it is not needed: slower, and fits into less memory
    embedded: bool = False  # made on this machine when it is first needed
    overrides: dict[str, Any] = field(default_factory=dict)


def tiny_model(data_dir: Path) -> Model:
    """The embedded model, made locally under the data folder."""
    return Model(TINY, str(data_dir / "models" / TINY), embedded=True, overrides=dict(TINY_LOOKS))


def load_models(data_dir: Path, models_file: Path | None) -> dict[str, Model]:
    """All models by id: the embedded one, and those of a TOML file with a table `[models.ID]` each.

    Raises ModelError with a sentence.
    """
    models = {TINY: tiny_model(data_dir)}
    if models_file is None:
        return models
    try:
        data = tomllib.loads(models_file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"The models file {models_file} cannot be read: {error}") from error
    tables = data.get("models")
    if not isinstance(tables, dict):
        raise ModelError(f"{models_file} needs a table [models.ID] for each model.")
    for model_id, table in tables.items():
        models[model_id] = _read(model_id, table, tiny_model(data_dir))
    return models


def choose(models: dict[str, Model], model_id: str) -> Model:
    """The model of that id. Raises ModelError that names those that there are."""
    if model_id not in models:
        raise ModelError(f"There is no model {model_id!r}; there are {', '.join(sorted(models))}.")
    return models[model_id]


def known_revision(model: Model) -> str | None:
    """The revision as far as it is known before the model is loaded: pinned, or written in its folder."""
    if model.revision is not None:
        return model.revision
    try:
        return Path(model.source, REVISION_FILE).read_text().strip() or None
    except OSError:
        return None


def folder_revision(folder: Path) -> str:
    """Sha-256 over a folder's files and their names, 64 hex digits; reads all of them."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != REVISION_FILE:
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _read(model_id: str, table: Any, tiny: Model) -> Model:
    if not _ID.fullmatch(model_id) or not isinstance(table, dict):
        raise ModelError(f"A model is a table [models.ID] whose ID is a short lowercase word, not {model_id!r}.")
    if unknown := sorted(set(table) - _KNOWN):
        known = ", ".join(sorted(_KNOWN))
        raise ModelError(f"Model {model_id} has an unknown setting {unknown[0]!r}; known are {known}.")
    source = table.get("source", TINY if model_id == TINY else None)
    revision = table.get("revision")
    if not isinstance(source, str) or not source:
        raise ModelError(f"Model {model_id} needs a source: a repository id, a folder, or {TINY!r}.")
    if revision is not None and not (isinstance(revision, str) and revision.strip()):
        raise ModelError(f"Model {model_id}: revision = {revision!r} is not text, or is empty.")
    embedded = source == TINY
    if revision is None and not embedded and not os.path.isdir(source):  # noqa: PTH112  # Path raises for a name that is too long
        raise ModelError(
            f"Model {model_id} needs a revision (a commit of {source}), so that its videos can be made again; "
            "or a source that is a folder on this machine."
        )
    overrides = {name: _value(model_id, name, value) for name, value in table.items() if name not in _PLACE}
    return Model(
        id=model_id,
        source=tiny.source if embedded else source,
        revision=None if embedded else revision,
        dtype=_one_of(model_id, "dtype", table.get("dtype", DTYPES[0]), DTYPES),
        offload=_one_of(model_id, "offload", table.get("offload", OFFLOADS[0]), OFFLOADS),
        embedded=embedded,
        overrides={**tiny.overrides, **overrides} if embedded else overrides,
    )


def _one_of(model_id: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ModelError(f"Model {model_id}: {name} = {value!r}; use one of {', '.join(choices)}.")
    return str(value)


def _value(model_id: str, name: str, value: Any) -> Any:
    """A checked setting of the preset."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "negative_prompt":
        fits, wanted = isinstance(value, str), "text"
    elif name == "guidance":
        fits, wanted = number and 0 <= value <= 100, "a number from 0 to 100"
    else:
        fits = number and isinstance(value, int) and 1 <= value <= _WHOLE[name]
        wanted = f"a whole number from 1 to {_WHOLE[name]}"
    if not fits:
        raise ModelError(f"Model {model_id}: {name} = {value!r} is not {wanted}.")
    return value
