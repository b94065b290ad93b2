"""What a model leaves open: as its family recommends it where there is a GPU, and never against the models file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generation.models.inventory import weights_mib
from generation.models.presets import Preset, known_families, preset_for, read_families
from generation.models.registry import TINY, Model, load_models
from generation.render.placement import fill_open_settings
from tests.builders.models import a_pipeline

COGVIDEOX = preset_for("CogVideoXPipeline")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A transformer of 8 MiB in bfloat16, and a decoder of 2."""
    return a_pipeline(tmp_path / "model")


def choice(model: Model, folder: Path, **machine: Any) -> tuple[Any, Any]:
    found, _ = fill_open_settings(model, COGVIDEOX, folder, **machine)
    return found.dtype, found.offload


def model(**settings: Any) -> Model:
    return Model("m", "x/y", **settings)


def test_a_gpu_gets_what_the_family_recommends(folder: Path) -> None:
    """Its dtype; everything stays on the GPU while there is room. Both are said where they were not asked for."""
    found, said = fill_open_settings(model(), COGVIDEOX, folder, gpu_mib=100)
    assert (found.dtype, found.offload) == ("bfloat16", "none")
    [sentence] = said
    assert sentence.startswith('dtype = "bfloat16", as CogVideoX wants it')


def test_without_a_gpu_there_is_nothing_to_halve_or_to_free(folder: Path) -> None:
    """As before: exact, and in place; what the models file says is kept for the sentence that it has no effect."""
    assert choice(model(), folder, gpu_mib=None) == ("float32", "none")
    assert choice(model(dtype="float16", offload="group"), folder, gpu_mib=None) == ("float16", "group")
    assert fill_open_settings(model(), COGVIDEOX, folder, gpu_mib=None)[1] == []


@pytest.mark.parametrize("machine", [{"gpu_mib": 4}, {"gpu_mib": 100}, {"gpu_mib": 4, "bfloat16": False}])
def test_the_models_file_has_the_last_word(folder: Path, machine: dict[str, Any]) -> None:
    """Also where it says what is the default anywhere else, and where it will not fit."""
    asked = model(dtype={"default": "float32", "vae": "bfloat16"}, offload="none")
    found, said = fill_open_settings(asked, COGVIDEOX, folder, **machine)
    assert (found, said) == (asked, [])


@pytest.mark.parametrize(
    ("free", "way"),
    [(100, "none"), (14, "none"), (12, "model"), (11, "model"), (10, "group"), (1, "group")],
)
def test_weights_that_fill_the_gpu_leave_it(folder: Path, free: int, way: str) -> None:
    """One component at a time is there, or one layer where a component alone fills it; a quarter stays free."""
    assert choice(model(), folder, gpu_mib=free) == ("bfloat16", way)


def test_weights_count_in_the_dtype_in_which_they_are_loaded(folder: Path) -> None:
    """Twice as many bytes do not fit where half of them do."""
    assert choice(model(dtype="float32"), folder, gpu_mib=14) == ("float32", "group")
    assert choice(model(dtype="bfloat16"), folder, gpu_mib=14) == ("bfloat16", "none")


def test_a_gpu_without_bfloat16_computes_exactly(folder: Path) -> None:
    """It is said with what may be tried; half precision of the older kind is not taken for granted."""
    found, said = fill_open_settings(model(), COGVIDEOX, folder, gpu_mib=100, bfloat16=False)
    assert found.dtype == "float32"
    assert 'which this GPU lacks: dtype = "float32". Try "float16".' in said[0]
    half = replace(COGVIDEOX, dtype="float16")
    assert fill_open_settings(model(), half, folder, gpu_mib=100, bfloat16=False)[0].dtype == "float16"


def test_a_family_without_recommendations_is_left_as_it_was(folder: Path) -> None:
    """Generic rules guess no dtype, and free nothing by themselves."""
    generic = Preset("generic", 512, 512, 17, 8, 30, 6.0)
    found, said = fill_open_settings(model(), generic, folder, gpu_mib=1)
    assert (found.dtype, found.offload, said) == ("float32", "none", [])


def test_the_tiny_model_is_exact_everywhere(tmp_path: Path) -> None:
    """Its family is one of large models; a models file may still ask for another dtype."""
    path = tmp_path / "models.toml"
    path.write_text('[models.a]\nsource = "tiny"\n[models.b]\nsource = "tiny"\ndtype = "bfloat16"\n')
    models = load_models(tmp_path, path)
    assert [(models[name].dtype, models[name].offload) for name in (TINY, "a", "b")] == [
        ("float32", "none"),
        ("float32", "none"),
        ("bfloat16", "none"),
    ]


def test_every_family_recommends_what_halves_its_weights(folder: Path) -> None:
    """And the list of models counts them so, where nothing else is asked."""
    assert {family.preset.dtype for family in known_families().values()} == {"bfloat16", "float16"}
    assert {family.preset.offload for family in known_families().values()} == {"model"}
    found, _ = fill_open_settings(model(), COGVIDEOX, folder, gpu_mib=100)
    assert weights_mib(found, folder) == {"parts": {"transformer": 8, "vae": 2}, "at_once": 10}


@pytest.mark.parametrize(
    ("configs", "dtype"),
    [({"num_attention_heads": 30}, "float16"), ({"num_attention_heads": 48}, "bfloat16"), ({}, "bfloat16")],
)
def test_cogvideox_2b_wants_the_other_half_precision(configs: dict[str, Any], dtype: str) -> None:
    """Recommendations follow variants like everything else of a preset."""
    assert known_families()["CogVideoXPipeline"].preset_of({"transformer": configs}).dtype == dtype


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"dtype": "int8"}, "dtype = 'int8' is not one of float32, bfloat16, float16"),
        ({"offload": "disk"}, "offload = 'disk' is not one of none, model, group, sequential"),
        ({"few_steps": [{"id": "a/b"}]}, "few_steps is a list of tables with id, steps and guidance"),
        ({"few_steps": "a/b"}, "few_steps is a list of tables"),
    ],
)
def test_a_family_with_a_wrong_recommendation_is_refused(table: dict[str, Any], words: str) -> None:
    """A sentence names what there is instead."""
    with pytest.raises(ValueError, match=words):
        read_families({"XPipeline": table}, "presets.toml")


def test_what_is_published_for_few_steps_is_usable() -> None:
    """A repository id each, a file that is read, fewer steps than the family's own."""
    found = [(family.preset, few) for family in known_families().values() for few in family.preset.few_steps]
    assert {preset.family for preset, _ in found} >= {"Wan", "LTX-Video", "LTX-2", "AnimateDiff"}
    for preset, few in found:
        assert few.id.count("/") == 1
        assert few.weight_name is None or few.weight_name.endswith(".safetensors")
        assert few.steps < preset.steps
