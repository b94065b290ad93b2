"""The presets of pipeline families: legal frame counts and sizes, frame rate, steps, guidance. Read from presets.toml.

A family is a table of data, named by its pipeline's class; code that is meant for one family alone has no place here.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

FAMILIES_FILE = Path(__file__).with_name("presets.toml")
CACHES = ("first_block", "taylorseer", "pyramid_attention")
ANYTHING = "*"  # in a variant's `when`: set to something
DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "group", "sequential")

# Whole numbers and the largest that is sensible; all begin at 1, but for the offset of frames.
WHOLE = {
    "width": 4096,
    "height": 4096,
    "frames": 1025,
    "fps": 120,
    "steps": 1000,
    "upscale": 8,
    "max_sequence_length": 4096,
    "frame_step": 256,
    "frame_offset": 256,
    "size_step": 256,
    "most_frames": 4096,
    "most_width": 4096,
    "most_height": 4096,
    "least_frames": 1024,
    "least_width": 1024,
    "least_height": 1024,
    "pass_frames": 4096,
}
FLAGS = ("vae_float32", "vae_tiling", "vae_slicing")

# Sizes and counts of a loaded model, as far as it says them: legal steps are multiples of these.
Strides = tuple[int, int]  # frames, pixels

PresetValues = dict[str, Any]  # checked values of a preset by its fields' names, for `dataclasses.replace`
Arguments = dict[str, Any]  # of a pipeline's call or a scheduler's config: diffusers alone knows their types
Configs = Mapping[str, Mapping[str, object]]  # "" is model_index.json, others are named by their component


@dataclass(frozen=True)
class Repository:
    """A published model of a family. Facts that are not certain are left out."""

    id: str
    license: str | None = None
    gated: bool = False
    billions: float | None = None  # parameters of what denoises
    variant: str | None = None  # the family's name in the variant that it is of


@dataclass(frozen=True)
class FewSteps:
    """A published way to render a family in few steps: an adapter, or without `weight_name` a model of its own."""

    id: str
    steps: int
    guidance: float
    weight_name: str | None = None
    license: str | None = None
    notes: str = ""


@dataclass(frozen=True)
class Preset:
    """The rules and defaults of a family.

    A number of frames is `frame_step` * k + `frame_offset`; width and height are multiples of `size_step`.
    """

    family: str
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    frame_step: int = 1
    size_step: int = 16
    max_sequence_length: int | None = None
    negative_prompt: str | None = None
    upscale: int = 1  # whole factor by which the encoder enlarges pixels, for models of very small pictures
    vae_float32: bool = False  # the decoder stays exact where the rest of the model is halved
    vae_tiling: bool = False  # decodes in tiles: less memory
    vae_slicing: bool = False  # decodes one at a time: less memory
    frame_offset: int = 1
    most_frames: int | None = None  # the positions that the model knows; None: more than anybody waits for
    most_width: int | None = None
    most_height: int | None = None
    least_frames: int | None = None  # that its decoder needs
    least_width: int | None = None
    least_height: int | None = None
    pass_frames: int | None = None  # families that render a video in several passes: frames of one
    shift: float | None = None  # of the noise schedule; None leaves the scheduler as it is
    scheduler: str | None = None  # a class of diffusers; None leaves the one that comes with the model
    scheduler_options: Arguments = field(default_factory=dict)  # for its config
    arguments: Arguments = field(default_factory=dict)  # further ones of the pipeline's call
    caches: tuple[str, ...] = ()  # those of CACHES that this family has been seen to render with
    needs: tuple[str, ...] = ()  # packages that its pipeline does not work without
    dtype: str | None = None  # on a GPU, where the model says nothing; None: float32
    offload: str | None = None  # likewise, where the weights would fill the GPU; None: none
    notes: str = ""
    repositories: tuple[Repository, ...] = ()
    few_steps: tuple[FewSteps, ...] = ()

    @property
    def passes(self) -> int:
        """The number of times that the denoising runs for one video."""
        return math.ceil(self.frames / self.pass_frames) if self.pass_frames else 1

    def fitted(self, strides: Strides = (1, 1)) -> tuple[Preset, list[str]]:
        """Return the nearest legal preset, with a sentence for each value that had to be changed.

        `strides` are the loaded model's own, beside those of the family: frames and pixels that make one latent.
        """
        size_step = math.lcm(self.size_step, strides[1])
        # A video of several passes is a multiple of one pass, whose own frames are legal already.
        frame_step = self.frame_step if self.pass_frames else math.lcm(self.frame_step, strides[0])
        offset = self.frame_offset or frame_step
        frames = max(0, round((self.frames - offset) / frame_step)) * frame_step + offset
        if self.frame_offset and frame_step > 1:  # a single frame is a picture, not a video
            frames = max(frames, frame_step + offset)
        if self.most_frames and frames > self.most_frames:
            frames -= math.ceil((frames - self.most_frames) / frame_step) * frame_step
            frames = max(frames, offset)  # a decoder that wants more than the family's most gets the least it can
        if self.least_frames and frames < self.least_frames:
            frames += math.ceil((self.least_frames - frames) / frame_step) * frame_step
        notes = []
        if frames != self.frames:
            rule = f"{frame_step}k" + (f"+{self.frame_offset}" if self.frame_offset else "")
            bounds = _bounds(self.least_frames, self.most_frames)
            notes.append(f"{self.family} renders {rule} frames{bounds}: {self.frames} became {frames}.")
        sizes = {}
        for name in ("width", "height"):
            value, least, most = (getattr(self, f"{kind}{name}") for kind in ("", "least_", "most_"))
            nearest = min(max(value, least or value), most or max(value, least or value))
            sizes[name] = max(1, round(nearest / size_step)) * size_step
            if sizes[name] != value:
                bounds = _bounds(least, most)
                notes.append(
                    f"{self.family} wants a {name} in steps of {size_step}{bounds}: {value} became {sizes[name]}."
                )
        return replace(self, frames=frames, frame_step=frame_step, size_step=size_step, **sizes), notes


# Most families want 4k+1 or 8k+1 frames, and sizes in steps of 16 or 32: 8k+1 and 32 suit them all.
GENERIC = Preset("generic", 512, 512, 17, 8, 30, 6.0, frame_step=8, size_step=32)

_NAMES = {entry.name for entry in fields(Preset)}


class Variant(NamedTuple):
    """Values that overlay a family's preset for the models whose configs hold all of `when`."""

    when: Mapping[str, object]
    values: PresetValues


@dataclass(frozen=True)
class Family:
    """A family as it is written down: the preset, and what overlays it for some of its models."""

    pipeline: str
    preset: Preset
    variants: tuple[Variant, ...] = ()

    def preset_of(self, configs: Configs) -> Preset:
        """Return the preset for a model, by its configs."""
        preset = self.preset
        for when, values in self.variants:
            if all(_holds(configs, key, value) for key, value in when.items()):
                preset = _overlay(preset, values)
        return preset

    def variant(self, name: str | None) -> Preset:
        """Return the preset of a variant by its name, for a model whose configs are not here."""
        values: PresetValues = next((v.values for v in self.variants if name and v.values.get("family") == name), {})
        return _overlay(self.preset, values)


def read_families(tables: Mapping[str, object], where: str) -> dict[str, Family]:
    """Return families by the class of their pipeline. Raises ValueError with a sentence."""
    families = {}
    for pipeline, table in tables.items():
        if not isinstance(table, dict) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", pipeline):
            raise ValueError(f"{where}: a family is a table named by its pipeline's class, not {pipeline!r}.")
        variants = table.get("variants", [])
        own = {name: value for name, value in table.items() if name != "variants"}
        values = check_values(f"{where}: {pipeline}", own)
        base = {"family": pipeline, **{name: getattr(GENERIC, name) for name in _REQUIRED}, **values}
        overlays = []
        for variant in variants if isinstance(variants, list) else [None]:
            if not isinstance(variant, dict) or not isinstance(variant.get("when"), dict) or not variant["when"]:
                raise ValueError(f"{where}: {pipeline}: a variant is a table with a table `when` of its own.")
            overlay = {name: value for name, value in variant.items() if name != "when"}
            overlays.append(Variant(variant["when"], check_values(f"{where}: {pipeline}", overlay)))
        families[pipeline] = Family(pipeline, Preset(**base), tuple(overlays))
    return families


_REQUIRED = ("width", "height", "frames", "fps", "steps", "guidance")


@cache
def known_families() -> Mapping[str, Family]:
    """Return the families that come with FLock."""
    return read_families(tomllib.loads(FAMILIES_FILE.read_text(encoding="utf-8")), FAMILIES_FILE.name)


def family_of(pipeline_class: str, more: Mapping[str, Family] | None = None) -> Family:
    """Return a pipeline's family, or generic rules if it is not known here. `more` take precedence over FLock's own."""
    return {**known_families(), **(more or {})}.get(pipeline_class) or Family(pipeline_class, GENERIC)


def preset_for(pipeline_class: str) -> Preset:
    """Return the family's preset without its variants."""
    return family_of(pipeline_class).preset


def check_values(where: str, values: Mapping[str, object]) -> PresetValues:
    """Return values of a preset as they are written in TOML, checked. Raises ValueError with a sentence."""
    result: PresetValues = {}
    for name, value in values.items():
        if name not in _NAMES:
            raise ValueError(f"{where} has an unknown setting {name!r}; known are {', '.join(sorted(_NAMES))}.")
        if name in {"repositories", "few_steps"}:
            result[name] = _publications(where, name, value)
            continue
        accepts, expected = _rule(name)
        if not accepts(value):
            raise ValueError(f"{where}: {name} = {value!r} is not {expected}.")
        result[name] = tuple(value) if isinstance(value, list) else value
    return result


def _rule(name: str) -> tuple[Callable[[object], bool], str]:
    """Return the check of a preset's field, and its accepted values in words."""
    if name in WHOLE:
        least, most = 0 if name == "frame_offset" else 1, WHOLE[name]
        whole = f"a whole number from {least} to {most}"
        return lambda value: isinstance(value, int) and _is_number_between(value, least, most), whole
    if name in {"guidance", "shift"}:
        return lambda value: _is_number_between(value, 0, 100), "a number from 0 to 100"
    if name in FLAGS:
        return lambda value: isinstance(value, bool), "true or false"
    if name in {"arguments", "scheduler_options"}:
        return lambda value: isinstance(value, dict), "a table"
    if name in {"dtype", "offload"}:
        choices = DTYPES if name == "dtype" else OFFLOADS
        return lambda value: value in choices, f"one of {', '.join(choices)}"
    if name == "caches":
        return lambda value: _is_list_of_text(value, CACHES), f"a list of {', '.join(CACHES)}"
    if name == "needs":
        return _is_list_of_text, "a list of packages"
    return lambda value: isinstance(value, str), "text"


def _is_number_between(value: object, least: int, most: int) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and least <= value <= most


def _is_list_of_text(value: object, choices: tuple[str, ...] | None = None) -> bool:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        return False
    return choices is None or set(value) <= set(choices)


def _publications(where: str, name: str, value: object) -> tuple[Repository | FewSteps, ...]:
    """Return the published models or few-step ways that a list of tables names. Raises ValueError."""
    kind = Repository if name == "repositories" else FewSteps
    if not isinstance(value, list):
        _reject_publications(where, name)
    try:
        return tuple(kind(**entry) for entry in value)
    except TypeError:
        _reject_publications(where, name)


def _reject_publications(where: str, name: str) -> NoReturn:
    keys = "id, license, gated, billions and variant" if name == "repositories" else "id, steps and guidance"
    raise ValueError(f"{where}: {name} is a list of tables with {keys}.")


def _overlay(preset: Preset, values: PresetValues) -> Preset:
    merged = dict(values)
    if "arguments" in merged:
        merged["arguments"] = {**preset.arguments, **merged["arguments"]}
    return replace(preset, **merged)


def _bounds(least: int | None, most: int | None) -> str:
    return (f", at least {least}" if least else "") + (f", at most {most}" if most else "")


def _holds(configs: Configs, key: str, expected: object) -> bool:
    component, _, name = key.rpartition(".")
    value = configs.get(component, {}).get(name)
    if isinstance(value, list) and not any(value):  # model_index.json writes an absent component as a list of nulls
        value = None
    return value is not None if expected == ANYTHING else value == expected
