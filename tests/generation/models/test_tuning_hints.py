"""The hints of the check: only what this pipeline offers on this machine, and does not use already."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from generation.models.presets import Preset, family_of
from generation.models.tuning_hints import tuning_hints

SECONDS = {"prompt": 1.0, "denoising": 50.0, "decoding": 5.0, "encoding": 1.0}


@dataclass(frozen=True)
class Settings:
    dtype: str | None = "bfloat16"
    offload: str | None = "none"
    compile: bool = True
    cache: str | None = "first_block"


@dataclass(frozen=True)
class Options:
    compile: bool = True
    caches: tuple[str, ...] = ("first_block",)
    adapters: bool = True
    parameters: dict[str, int] = field(
        default_factory=lambda: {"transformer": 1_400_000_000, "text_encoder": 5_700_000_000}
    )


@dataclass(frozen=True)
class Loaded:
    """As a render process describes its model."""

    preset: Preset = family_of("WanPipeline").preset
    device: str = "a GPU"
    gpus: int = 1
    gpu_mib: int | None = 80_000
    settings: Settings = Settings()
    can: Options = Options()


def said(seconds: dict[str, float] | None = None, **more: Any) -> str:
    changes = {name: replace(getattr(Loaded(), name), **v) if isinstance(v, dict) else v for name, v in more.items()}
    return " ".join(tuning_hints(replace(Loaded(), **changes), seconds or SECONDS))


def test_what_is_used_already_is_not_advised() -> None:
    """Compiled, cached, in half precision and without offloading: only fewer steps are left, by an adapter."""
    assert said() == "A few-step adapter of this family, where there is one, needs 4 to 8 of these 50 steps."
    assert said(preset={"steps": 4}) == ""
    assert said(can={"adapters": False}) == ""


def test_what_is_left_unused_is_advised() -> None:
    """Each by the line that switches it on."""
    assert "compile = true" in said(settings={"compile": False})
    assert 'cache = "first_block"' in said(settings={"cache": None})
    assert 'dtype = "bfloat16"' in said(settings={"dtype": "float32"})
    assert 'offload = "none" is quicker: the weights take about' in said(settings={"offload": "model"})
    assert 'offload = "group"' in said(settings={"offload": "sequential"}, gpu_mib=8_000)
    assert "run a worker on each" in said(gpus=4)
    assert "Decoding takes much of the time" in said({**SECONDS, "decoding": 50.0})


def test_what_is_not_offered_is_not_advised() -> None:
    """Nor what does not fit: weights that fill the GPU stay offloaded."""
    assert "compile" not in said(settings={"compile": False}, can={"compile": False})
    assert "cache" not in said(settings={"cache": None}, can={"caches": ()})
    assert "offload" not in said(settings={"offload": "model"}, gpu_mib=12_000)
    assert "Decoding" not in said()


def test_without_a_gpu_that_is_the_advice() -> None:
    """But for models that are small enough for a CPU."""
    assert "a GPU is the only thing that helps" in said(device="cpu", settings={"compile": False})
    assert "compile" not in said(device="cpu", settings={"compile": False})
    assert "GPU" not in said(device="cpu", can={"parameters": {"transformer": 1_000_000}})
