"""What the check advises: only what this pipeline offers on this machine, and does not use already."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from generation.models.presets import family_of
from generation.models.tuning_hints import advice

SECONDS = {"prompt": 1.0, "denoising": 50.0, "decoding": 5.0, "encoding": 1.0}


def loaded(**more: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "device": "a GPU",
        "gpus": 1,
        "gpu_mib": 80_000,
        "preset": asdict(family_of("WanPipeline").preset),
        "settings": {"dtype": "bfloat16", "offload": "none", "compile": True, "cache": "first_block"},
        "can": {"compile": True, "caches": ["first_block"], "adapters": True}
        | {"parameters": {"transformer": 1_400_000_000, "text_encoder": 5_700_000_000}},
    }
    for name, value in more.items():
        facts[name] = {**facts[name], **value} if isinstance(value, dict) else value
    return facts


def said(seconds: dict[str, float] | None = None, **more: Any) -> str:
    return " ".join(advice(loaded(**more), {"seconds": seconds or SECONDS}))


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
    assert "cache" not in said(settings={"cache": None}, can={"caches": []})
    assert "offload" not in said(settings={"offload": "model"}, gpu_mib=12_000)
    assert "Decoding" not in said()


def test_without_a_gpu_that_is_the_advice() -> None:
    """But for models that are small enough for a CPU."""
    assert "a GPU is the only thing that helps" in said(device="cpu", settings={"compile": False})
    assert "compile" not in said(device="cpu", settings={"compile": False})
    assert "GPU" not in said(device="cpu", can={"parameters": {"transformer": 1_000_000}})
