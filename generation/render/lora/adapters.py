"""The adapters (LoRA) of a pipeline: the keys of each file are compared with the tensors that reached the pipeline.

diffusers leaves out what does not fit, with a warning: half an adapter at full strength is a wrong video.
With torch; runs in the render process.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generation.models.config import is_folder, source_name
from generation.models.registry import Model
from generation.models.weights import WeightsError, list_tensors, tensors_of
from generation.render.acceleration import DENOISERS
from generation.render.memory import NoPipelineError

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline, ModelMixin

# An adapter's table, as generation/models/config.py reads it from the models file.
Entry = Mapping[str, Any]
Tensors = dict[str, "torch.Tensor"]  # by key

# Prefixes of trainers, which say nothing of the model: peft alone, DiffSynth, and the original code around its model.
_OUTER = ("base_model.model.", "pipe.dit.", "model.diffusion_model.")
_ORIGINAL = "diffusion_model."  # names of the original code, as ComfyUI has them: diffusers translates those
_NAMED_HALF = re.compile(r"\.lora_([AB])\.[^.]+\.(weight|bias)$")  # with the adapter's name, as peft has it in memory
_HALF = re.compile(r"lora_[AB]|lora_(down|up)|lora\.(down|up)|lokr_")
# Keys that some trainers write beside the two halves, and no library that is used here applies.
_IGNORED = ("diff", "diff_m", "dora_scale")
_NOT_IGNORED = "head.head.diff"  # diffusers takes this one for a half (see lightx2v/Wan2.2-Distill-Loras)
REMEDY = "Take one that was made for this very model, its size included."
CONFIG = "adapter_config.json"  # peft's, beside its weights
SECOND = "transformer_2"  # Wan 2.2's, for what is left at low noise
METADATA = "lora_adapter_metadata"  # diffusers' own, in the file's header


def add_adapters(pipeline: DiffusionPipeline, model: Model) -> list[str]:
    """Load the adapters and set their strengths; return sentences on what had no effect.

    Raises NoPipelineError where a file does not fit, or only a part of it.
    """
    if not model.adapters:
        return []
    if not _takes_adapters(pipeline):
        raise NoPipelineError(f"{type(pipeline).__name__} takes no adapters; remove them from model {model.id}.")
    names, notes = [], []
    for number, entry in enumerate(model.adapters):
        names.append(f"adapter_{number}")
        notes += add_adapter(pipeline, entry, names[-1])
    pipeline.set_adapters(names, [entry["scale"] for entry in model.adapters])
    return notes


def add_adapter(pipeline: DiffusionPipeline, entry: Entry, name: str) -> list[str]:
    """Load one adapter under a name; return sentences on what had no effect. `set_adapters` gives it its strength.

    Raises NoPipelineError where the file does not fit, or only a part of it.
    """
    if not _takes_adapters(pipeline):
        raise NoPipelineError(f"{type(pipeline).__name__} takes no adapters.")
    if find_spec("peft") is None:
        raise NoPipelineError("Adapters need peft. Run: pip install 'flock[worker]'")
    return _Adapter(pipeline, entry, name).load()


def _takes_adapters(pipeline: DiffusionPipeline) -> bool:
    return hasattr(pipeline, "load_lora_weights") and hasattr(_denoiser(pipeline)[1], "load_lora_adapter")


class _Adapter:
    """The loading of one file into a pipeline, under a name of ours."""

    def __init__(self, pipeline: DiffusionPipeline, entry: Entry, name: str) -> None:
        self._pipeline = pipeline
        self._entry = entry
        self._name = name
        self._file = entry["weight_name"]
        self._notes: list[str] = []
        self._path = _path_of(entry, self._file)
        try:
            self._tensors = tensors_of(self._path)
        except OSError as error:
            reason = f"{self._file} of {source_name(entry['source'])} cannot be read ({error.strerror})."
            raise NoPipelineError(f"Adapter {reason} Check `source` and `weight_name` in the models file.") from error
        except WeightsError as error:
            raise NoPipelineError(f"Adapter {error} It is of {source_name(entry['source'])}.") from error
        if not self._tensors:
            raise NoPipelineError(
                f"Adapter {self._file} of {source_name(entry['source'])} is empty. Download it again."
            )

    def load(self) -> list[str]:
        """Load the file; return sentences on what had no effect. Raises NoPipelineError."""
        converted = self._load_into_pipeline()
        in_pipeline = set(self._tensors_in_pipeline())
        keys = {key for key in converted if not key.endswith("alpha")}
        fitting = _fitting(keys, in_pipeline)
        if not in_pipeline:
            raise self._misfit()
        if strange := sorted(keys - fitting):
            raise NoPipelineError(
                f"Adapter {self._file}: {len(fitting)} of {len(keys)} keys fit {self._kind}; among the others is "
                f"{strange[0]}. With a part of it the video would be a wrong one. {REMEDY}"
            )
        if fitting <= in_pipeline:  # the names are the same, so the halves of a pair can be told apart
            halves = sorted(key for key in in_pipeline - fitting if key.endswith(".weight"))
            if halves:
                raise NoPipelineError(
                    f"Adapter {self._file} lacks {list_tensors(halves)}: the other half is there. Download it again."
                )
        return [*self._notes, *self._ignored_keys(converted), *self._one_of_two(in_pipeline)]

    def _load_into_pipeline(self) -> Tensors:
        """Load the adapter; return the tensors as diffusers has named them, some of which it may have left out."""
        import torch

        converted: Tensors = {}
        header: list[object] = []  # rank and alpha of each component, where the file's header says them
        read = self._pipeline.lora_state_dict

        def reading(*args: object, **kwargs: object) -> tuple[Tensors, object] | Tensors:
            answer: tuple[Tensors, object] | Tensors = read(*args, **kwargs)
            converted.update(answer[0] if isinstance(answer, tuple) else answer)
            header[:] = answer[1:] if isinstance(answer, tuple) else []
            return answer

        source, options = self._source()
        self._pipeline.lora_state_dict = reading
        try:
            self._pipeline.load_lora_weights(source, adapter_name=self._name, **options)
            self._load_second(converted, header[-1] if header else None)
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
                raise
            raise self._misfit(shapes="size mismatch" in str(error)) from error
        finally:
            del self._pipeline.lora_state_dict
        return converted

    def _load_second(self, converted: Tensors, header: object) -> None:
        """Load the second denoiser's part of a file for both, which diffusers leaves out."""
        second = self._pipeline.components.get(SECOND)
        if second is not None and any(key.startswith(f"{SECOND}.") for key in converted):
            second.load_lora_adapter(converted, prefix=SECOND, adapter_name=self._name, metadata=header)

    def _source(self) -> tuple[str | Tensors, dict[str, object]]:
        """Return what diffusers is to load: the file, or its tensors under names that diffusers knows."""
        renamed = self._renamed()
        if renamed is None:
            return str(self._path.parent), {"weight_name": self._path.name, "use_safetensors": True}
        from safetensors.torch import load_file

        tensors = load_file(self._path)
        scales = self._scales()
        return {new: tensors[old] * scales.get(old, 1.0) for old, new in renamed.items()}, {}

    def _renamed(self) -> dict[str, str] | None:
        """Return the names in diffusers of keys in a trainer's own form; None where it knows them as they are."""
        parts = {key.partition(".")[0] for key in self._tensors}
        known_parts = {*self._pipeline._lora_loadable_modules, _ORIGINAL.rstrip("."), "text_encoder", "text_encoder_2"}
        if parts <= known_parts or any(key.startswith("lora_") for key in self._tensors):
            return None
        bare = {}
        for key in self._tensors:
            short = key
            for prefix in _OUTER:
                short = short.removeprefix(prefix)
            bare[key] = _NAMED_HALF.sub(r".lora_\1.\2", short)
        component, denoiser = _denoiser(self._pipeline)
        names = {name for name, _ in denoiser.named_modules()}
        in_denoiser = any(_HALF.split(name)[0].rstrip(".") in names for name in bare.values())
        prefix = f"{component}." if in_denoiser else _ORIGINAL
        return {key: name if name.partition(".")[0] in known_parts else f"{prefix}{name}" for key, name in bare.items()}

    def _scales(self) -> dict[str, float]:
        """Return the factors of the upper halves, where the names are a trainer's own: alpha / rank.

        The file's header says alpha (diffusers), or the config beside it (peft), or tensors named alpha, which
        diffusers applies by itself. Else each half counts as it is, as diffusers has it with files of its own.
        """
        config = self._config()
        if config is None:
            if not any(key.endswith("alpha") for key in self._tensors):
                self._notes.append(
                    f"Adapter {self._file}: nothing in it says how strong it is, and no {CONFIG} beside it does: its "
                    "lora_alpha is taken for its rank."
                )
            return {}
        usual, patterns = float(config["lora_alpha"]), dict(config.get("alpha_pattern") or {})
        scales = {}
        for key, tensor in self._tensors.items():
            if "lora_B" in key and len(tensor.shape) > 1:
                module = key.partition(".lora_B")[0]
                for prefix in _OUTER:
                    module = module.removeprefix(prefix)
                pattern = next((each for each in patterns if re.match(rf"(.*\.)?({each})$", module)), None)
                alpha = usual if pattern is None else float(patterns[pattern])
                rank = tensor.shape[1]
                scales[key] = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        return scales

    def _config(self) -> Mapping[str, Any] | None:
        """Return the settings of the training, as peft writes them; None where they are nowhere."""
        from safetensors import safe_open

        with safe_open(self._path, "pt") as file:
            header = (file.metadata() or {}).get(METADATA)
        try:
            beside = _path_of(self._entry, str(Path(self._file).with_name(CONFIG)))
            config = json.loads(header if header is not None else beside.read_text())
            float(config["lora_alpha"]), dict(config.get("alpha_pattern") or {})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return dict(config)

    def _tensors_in_pipeline(self) -> Tensors:
        """Return the tensors of this adapter in the pipeline, named as in diffusers' files."""
        tensors = {}
        for component, module in self._pipeline.components.items():
            if hasattr(module, "named_parameters"):
                for name, tensor in module.named_parameters():
                    if self._name in (words := name.split(".")):
                        tensors[f"{component}.{'.'.join(word for word in words if word != self._name)}"] = tensor
        return tensors

    def _ignored_keys(self, converted: Tensors) -> list[str]:
        """Return a sentence for each kind of key that changes nothing."""
        notes = []
        head_converted = any(key.endswith("proj_out.lora_A.weight") for key in converted)
        for suffix in _IGNORED:
            keys = [key for key in self._tensors if key.endswith(f".{suffix}")]
            keys = [key for key in keys if not (head_converted and key.endswith(_NOT_IGNORED))]
            if keys:
                notes.append(_no_effect(self._file, len(keys), suffix))
        biases = sum(key.endswith(".diff_b") for key in self._tensors)
        applied = sum(key.endswith(".lora_B.bias") for key in converted)
        if biases > applied:
            notes.append(_no_effect(self._file, biases - applied, "diff_b"))
        return notes

    def _one_of_two(self, in_pipeline: set[str]) -> list[str]:
        """Return a sentence where a second denoiser, which renders a part of the steps, goes without the adapter."""
        denoisers = [name for name in DENOISERS if self._pipeline.components.get(name) is not None]
        changed = [name for name in denoisers if any(key.startswith(f"{name}.") for key in in_pipeline)]
        without = [name for name in denoisers if name not in changed]
        if not changed or not without:
            return []
        return [f"Adapter {self._file} changes {changed[0]} alone: {without[0]} renders its steps without it."]

    def _misfit(self, *, shapes: bool = False) -> NoPipelineError:
        """Return the error of a file that does not fit: the form of its keys, and the form of those that would fit."""
        component, denoiser = _denoiser(self._pipeline)
        layers = [name for name, part in denoiser.named_modules() if _is_layer(part) and "block" in name]
        example = next(iter(layers), "…").replace(".base_layer", "")  # what peft calls a layer that it has wrapped
        strange = [key for key in self._tensors if not _HALF.search(key) and not key.endswith((".alpha", ".diff_b"))]
        why = "have other shapes than this model's" if shapes else "do not fit"
        return NoPipelineError(
            f"Adapter {self._file}: its {len(self._tensors)} keys, such as {min(strange or self._tensors)}, {why}. "
            f"Those that fit {self._kind} are named as {component}.{example}.lora_A.weight is. {REMEDY}"
        )

    @property
    def _kind(self) -> str:
        return type(self._pipeline).__name__


def _denoiser(pipeline: DiffusionPipeline) -> tuple[str, ModelMixin]:
    """Return the component that adapters are made for, and its name."""
    parts = pipeline.components
    name = next((part for part in pipeline._lora_loadable_modules if parts.get(part) is not None), "unet")
    return name, parts.get(name)


def _fitting(keys: set[str], in_pipeline: set[str]) -> set[str]:
    """Return the keys of a file that reached the pipeline; as many as did where a component names them otherwise."""
    fitting = set()
    for component in {key.partition(".")[0] for key in keys}:
        of_file = {key for key in keys if key.startswith(f"{component}.")}
        of_pipeline = {key for key in in_pipeline if key.startswith(f"{component}.")}
        fitting |= of_file & of_pipeline or set(sorted(of_file)[: len(of_pipeline)])
    return fitting


def _path_of(entry: Entry, name: str) -> Path:
    """Return the path of a file of an adapter's source, fetched from its repository if it must be. Raises OSError."""
    if is_folder(entry["source"]):
        return Path(entry["source"], name)
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(entry["source"], name, revision=entry["revision"]))


def _is_layer(module: torch.nn.Module) -> bool:
    import torch

    return isinstance(module, torch.nn.Linear)


def _no_effect(file: str, number: int, suffix: str) -> str:
    return f"Adapter {file}: {number} keys of the kind {suffix!r} have no effect, since no library here heeds them."
