"""The components of a pipeline: each is loaded by its own class, and what its files hold compared with what that wants.

Left to itself a library loads what it finds, warns, and draws what is missing at random. With torch; runs in the child.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generation.models.config import is_folder, source_name
from generation.models.registry import Model
from generation.models.weights import MOST_NAMED, faults, list_tensors, scales_among, unapplied_scales
from generation.render.memory import NoPipelineError

COMPLETE = "Download the model again, or take a repository that is complete."


def pipeline_class_of(model: Model, index: Mapping[str, Any]) -> Any:
    """The class to load a pipeline as. Raises NoPipelineError where diffusers has none of that name."""
    import diffusers

    name = model.pipeline or index.get("_class_name")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, diffusers.DiffusionPipeline):
        raise NoPipelineError(f"Model {model.id}: diffusers has no pipeline {name!r}.")
    return kind


def load_components(
    model: Model,
    pipeline_class: Any,
    folder: Path,
    index: Mapping[str, Any],
    *,
    dtypes: Mapping[str, Any],
    quantised: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """The components that have weights or come from other sources, by name, and what is to be said of their files.

    What is left out here (tokenizers, schedulers) the pipeline loads itself. Raises NoPipelineError where tensors are
    missing, have other shapes, or mean nothing without scales that no library applies.
    """
    wanted = inspect.signature(pipeline_class.__init__).parameters
    if strange := sorted(set(model.components) - set(wanted)):
        unset = (inspect.Parameter.empty, None)  # a component has no default, or None; settings have others
        known = ", ".join(name for name, entry in wanted.items() if name != "self" and entry.default in unset)
        raise NoPipelineError(
            f"Model {model.id}: {pipeline_class.__name__} has no component {strange[0]!r}; it has {known}."
        )
    loaded: dict[str, Any] = {}
    said = []
    for name, place in index.items():
        part = folder / name
        kind = _class_at(place)
        if name not in wanted or name in model.components or not _has_weights(kind) or not part.is_dir():
            continue
        load = _Loading(name, source_name(model.source, name), dtypes.get(name, dtypes["default"]), quantised.get(name))
        loaded[name] = load.of(kind, part, {}, files=part)
        said += load.said
    for name, entry in model.components.items():
        load = _Loading(
            name,
            source_name(entry["source"], entry["subfolder"]),
            dtypes.get(name, dtypes["default"]),
            quantised.get(name),
        )
        loaded[name] = _of_another_source(load, entry, index.get(name))
        said += load.said
    return loaded, said


class _Loading:
    """The loading of one component."""

    def __init__(self, name: str, where: str, dtype: Any, quantised: Any) -> None:
        self.name = name
        self.where = where
        self.said: list[str] = []
        self._dtype = dtype
        self._quantised = quantised

    def of(self, kind: Any, source: Any, place: Mapping[str, Any], *, files: Path | None) -> Any:
        """The component; `files` is the folder of its files, where that is known before it is loaded."""
        if files is not None:
            wrong, said = faults(files)
            if wrong:
                raise NoPipelineError(f"{self.name}: {wrong[0]} It is in {self.where}.")
            self.said += [f"{self.name}: {sentence}" for sentence in said]
        beforehand = (
            bool(kind.load_config(source, **place).get("quantization_config")) if _of_diffusers(kind) else False
        )
        more = {} if self._quantised is None else {"quantization_config": self._quantised}
        module, info = kind.from_pretrained(
            source,
            dtype=self._dtype,
            use_safetensors=True,  # never a pickled checkpoint
            local_files_only=files is not None,
            output_loading_info=True,
            ignore_mismatched_sizes=not beforehand,  # they are told below; weights quantised beforehand are all so
            **place,
            **more,
        )
        self._compare(kind, module, info)
        return module

    def _compare(self, kind: Any, module: Any, info: Mapping[str, Any]) -> None:
        shapes = {name: (tuple(found), tuple(wanted)) for name, found, wanted in info["mismatched_keys"]}
        if shapes:
            shown = [
                f"{name} is {found}, not {wanted}" for name, (found, wanted) in sorted(shapes.items())[:MOST_NAMED]
            ]
            raise NoPipelineError(
                f"{self.name}: {list_tensors(shapes)} in {self.where} {_have(shapes, 'another shape', 'other shapes')} "
                f"than its config.json says: {'; '.join(shown)}. Take files and config.json from the same repository."
            )
        lost = set(info["missing_keys"])
        # What an index promised and its shards do not hold is not told: it was never given any memory.
        lost |= {name for name, tensor in module.state_dict().items() if getattr(tensor, "is_meta", False)}
        lost -= {name for name, tensor in module.named_buffers() if name in lost and _is_computed(tensor)}
        if lost:
            raise NoPipelineError(
                f"{self.name}: {list_tensors(lost)} {'is' if len(lost) == 1 else 'are'} missing from {self.where}; "
                f"{'its' if len(lost) == 1 else 'their'} numbers would be drawn anew at each start. {COMPLETE}"
            )
        unused = list(info["unexpected_keys"])
        if scales := scales_among(unused):
            raise NoPipelineError(f"{self.name}: {unapplied_scales(scales)} It is in {self.where}.")
        if unused:
            verb, them = ("is", "it") if len(unused) == 1 else ("are", "them")
            found = f"{self.name}: {list_tensors(unused)} {verb} not used"
            self.said.append(f"{found}: {kind.__name__} has no place for {them}.")


def _of_another_source(load: _Loading, entry: Mapping[str, Any], place: Any) -> Any:
    """A component of another source, of the class that its own pipeline or config names, else of that of its place."""
    import diffusers

    source, subfolder = entry["source"], entry["subfolder"]
    where = {name: entry[name] for name in ("revision", "subfolder") if entry[name] is not None}
    files = Path(source, subfolder or "") if is_folder(source) else None
    pinned = {"revision": entry["revision"]} if entry["revision"] is not None else {}
    if subfolder is not None:
        with contextlib.suppress(OSError):  # it may be no pipeline, and a component all the same
            place = diffusers.DiffusionPipeline.load_config(source, **pinned).get(subfolder, place)
    kind = _class_at(place)
    if kind is not None and not _has_weights(kind):
        return kind.from_pretrained(source, **where)
    try:
        config = _config_of(source, where)
    except OSError as error:
        if files is None:
            raise  # whatever the hub has said
        raise NoPipelineError(f"{load.name}: {load.where} holds no component: it has no config.json.") from error
    kind = _class_by_config(config, kind)
    if kind is None:
        raise NoPipelineError(f"{load.name}: the config.json of {load.where} names no class that is known here.")
    return load.of(kind, source, where, files=files)


def _config_of(source: Any, place: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config.json of a component, in a folder or on a hub. Raises OSError where there is none."""
    import diffusers

    class Config(diffusers.ConfigMixin):  # type: ignore[misc]  # reads a file of this name, of whatever class
        config_name = "config.json"

    return dict(Config.load_config(source, **place))


def _class_by_config(config: Mapping[str, Any], usual: Any) -> Any:
    """The class that a component's own config names; of transformers, one that a pipeline asks for comes first."""
    import diffusers
    import transformers

    name = config.get("_class_name")
    if name is None:
        if usual is not None and not _of_diffusers(usual):
            return usual  # the same files are read as an encoder alone, or as all of a language model
        kind = next((getattr(transformers, str(name), None) for name in config.get("architectures") or ()), None)
    else:
        kind = usual if usual is not None and usual.__name__ == name else getattr(diffusers, str(name), None)
    return kind if _has_weights(kind) else None


def _class_at(place: Any) -> Any:
    """The class that an index names as [library, class]; None where it names none, or none that is known here.

    No library is imported because an index names it.
    """
    import diffusers
    import transformers

    if not isinstance(place, list | tuple) or len(place) != 2 or not all(isinstance(word, str) for word in place):
        return None
    library, name = place
    module: Any = {"diffusers": diffusers, "transformers": transformers}.get(library)
    module = module or getattr(diffusers.pipelines, library, None)
    kind = getattr(module, name, None)
    return kind if isinstance(kind, type) else None


def _has_weights(kind: Any) -> bool:
    import diffusers
    import transformers

    return isinstance(kind, type) and issubclass(kind, diffusers.ModelMixin | transformers.PreTrainedModel)


def _of_diffusers(kind: Any) -> bool:
    import diffusers

    return isinstance(kind, type) and issubclass(kind, diffusers.ModelMixin)


def _is_computed(buffer: Any) -> bool:
    """Whether a buffer holds what its class has computed, such as a table of positions, and no placeholder."""
    return not buffer.is_meta and buffer.numel() > 1 and bool((buffer != buffer.flatten()[0]).any())


def _have(names: Mapping[str, Any], singular: str, plural: str) -> str:
    return f"has {singular}" if len(names) == 1 else f"have {plural}"
