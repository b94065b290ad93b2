"""Which models there are, and how they render."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from generation.models.registry import (
    Model,
    ModelError,
    choose,
    full_revision,
    known_revision,
    load_models,
)

COMMIT = "38ec498fcb3208fb688890f8cc7e94ede2cbd7f6"


def test_without_a_file_there_is_the_embedded_model(tmp_path: Path) -> None:
    """The tiny model needs no configuration; any other name is answered with those that there are."""
    models = load_models(tmp_path, None)
    assert choose(models, "tiny").source == str(tmp_path / "models" / "tiny")
    with pytest.raises(ModelError, match="no model 'wan'; there are tiny"):
        choose(models, "wan")


def test_a_file_adds_models(tmp_path: Path) -> None:
    """A repository with its revision, a folder, and the embedded model in other looks stand beside the tiny one."""
    text = (
        f'[models.wan14b]\nsource = "Wan-AI/Wan2.1-T2V-14B-Diffusers"\nrevision = "{COMMIT}"\ndtype = "bfloat16"\n'
        f'steps = 30\noffload = "model"\n[models.mine]\nsource = "{tmp_path}"\n'
        '[models.small]\nsource = "tiny"\nsteps = 3\n'
    )
    path = tmp_path / "models.toml"
    path.write_text(text)
    models = load_models(tmp_path, path)
    assert sorted(models) == ["mine", "small", "tiny", "wan14b"]
    assert known_revision(models["wan14b"]) == COMMIT
    assert models["wan14b"].overrides == {"steps": 30}
    assert models["small"].overrides == {**models["tiny"].overrides, "steps": 3}
    assert models["small"].source == models["tiny"].source


def test_a_missing_file_is_answered_with_a_sentence(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ModelError, match=r"nowhere.toml cannot be read"):
        load_models(tmp_path, tmp_path / "nowhere.toml")


def test_everything_about_a_model_can_be_configured(tmp_path: Path) -> None:
    """Adapters, components, memory, acceleration and a family of one's own arrive as they were written."""
    text = f"""
        [families.NewPipeline]
        family = "New"
        frame_step = 3

        [models.new]
        source = "some/model"
        revision = "{COMMIT}"
        dtype = {{ default = "bfloat16", vae = "float32" }}
        offload = "group"
        vae_tiling = true
        quantise = "bitsandbytes-nf4"
        quantise_components = ["transformer"]
        compile = true
        cache = "first_block"
        cache_threshold = 0.1
        attention = "flash"
        shift = 5
        scheduler_options = {{ use_flow_sigmas = true }}
        arguments = {{ guidance_scale_2 = 3.0 }}
        license = "Apache-2.0"
        gated = true

        [[models.new.adapters]]
        source = "some/adapter"
        revision = "{COMMIT}"
        weight_name = "few.safetensors"
        scale = 0.5

        [models.new.components.vae]
        source = "some/vae"
        revision = "{COMMIT}"
    """
    path = tmp_path / "models.toml"
    path.write_text(text)
    model = load_models(tmp_path, path)["new"]
    assert Model.from_json(json.loads(json.dumps(asdict(model)))) == model
    assert (model.dtype_of("vae"), model.dtype_of("transformer")) == ("float32", "bfloat16")
    assert model.adapters == [
        {"source": "some/adapter", "revision": COMMIT, "weight_name": "few.safetensors", "scale": 0.5}
    ]
    assert model.components == {"vae": {"source": "some/vae", "revision": COMMIT, "subfolder": None}}
    assert set(model.overrides) == {"vae_tiling", "shift", "scheduler_options", "arguments"}
    assert model.family("NewPipeline").preset.frame_step == 3
    assert model.family("WanPipeline").preset.family == "Wan"
    assert not model.is_local
    revision = known_revision(model)
    assert revision is not None
    assert revision.startswith(f"{COMMIT}+")
    assert full_revision(model) == revision
