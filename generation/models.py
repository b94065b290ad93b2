"""The models that a worker can load: where each comes from, at which revision, and how it renders."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from generation.presets import Preset

TINY = "tiny"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DTYPES = ("float32", "bfloat16", "float16")
_OVERRIDABLE = {f.name: f.type for f in fields(Preset) if f.name != "family"}


class ModelError(ValueError):
    """A model cannot be used as it is configured; the message says what to change."""


@dataclass(frozen=True)
class Model:
    """One model. `source` is a repository id or a folder; `overrides` replace values of its family's preset."""

    id: str
    source: str
    revision: str | None = None  # pinned; required for a repository, whose contents may change under its name
    dtype: str = "float32"
    overrides: dict[str, Any] = field(default_factory=dict)


def tiny_model(data_dir: Path) -> Model:
    """The embedded model, made locally under the data folder."""
    return Model(TINY, str(data_dir / "models" / TINY))


def load_models(data_dir: Path, models_file: Path | None) -> dict[str, Model]:
    """All models by id: the embedded one, and those of a TOML file with a table `[models.ID]` each.

    Raises ModelError with a sentence.
    """
    models = {TINY: tiny_model(data_dir)}
    if models_file is None:
        return models
    try:
        data = tomllib.loads(models_file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"The models file {models_file} cannot be read: {error}") from error
    tables = data.get("models")
    if not isinstance(tables, dict):
        raise ModelError(f"{models_file} needs a table [models.ID] for each model.")
    for model_id, table in tables.items():
        models[model_id] = _read(model_id, table, data_dir)
    return models


def _read(model_id: str, table: Any, data_dir: Path) -> Model:
    if not _ID.fullmatch(model_id) or not isinstance(table, dict):
        raise ModelError(f"A model's id is a short lowercase word, not {model_id!r}.")
    known = {"source", "revision", "dtype", *_OVERRIDABLE}
    if unknown := sorted(set(table) - known):
        raise ModelError(
            f"Model {model_id} has an unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}."
        )
    source = table.get("source") or (tiny_model(data_dir).source if model_id == TINY else None)
    if not isinstance(source, str):
        raise ModelError(f"Model {model_id} needs a source: a repository id or a folder.")
    if source == TINY:
        source = tiny_model(data_dir).source
    revision = table.get("revision")
    if revision is None and not Path(source).is_absolute():
        raise ModelError(f"Model {model_id} needs a revision (a commit of {source}), so that its videos can be remade.")
    dtype = table.get("dtype", "float32")
    if dtype not in _DTYPES:
        raise ModelError(f"Model {model_id} has the dtype {dtype!r}; use one of {', '.join(_DTYPES)}.")
    overrides = {name: table[name] for name in _OVERRIDABLE if name in table}
    for name, value in overrides.items():
        if name == "negative_prompt":
            fits, wanted = isinstance(value, str), "text"
        else:
            fits = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
            wanted = "a positive number"
        if not fits:
            raise ModelError(f"Model {model_id}: {name} = {value!r} is not {wanted}.")
    return Model(model_id, source, revision, dtype, overrides)
