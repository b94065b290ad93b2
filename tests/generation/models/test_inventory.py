"""What is told of a model without loading it: family, files, weights, license."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from generation.models.inventory import describe, describe_family, parameters, rule_of
from generation.models.presets import known_families, preset_for
from generation.models.registry import load_models
from tests.builders.models import a_pipeline

COMMIT = "38ec498fcb3208fb688890f8cc7e94ede2cbd7f6"


def entry(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return json.loads(json.dumps(describe(load_models(tmp_path / "data", path)["m"])))  # type: ignore[no-any-return]


def test_a_model_whose_files_are_here_is_told_in_full(tmp_path: Path) -> None:
    """Its family by its own configs, its weights by their headers, in the dtype in which they will lie there."""
    folder = a_pipeline(tmp_path / "model")
    found = entry(tmp_path, f'[models.m]\nsource = "{folder}"\ndtype = {{default = "bfloat16", vae = "float32"}}')
    assert (found["family"], found["preset"]["width"], found["here"]) == ("CogVideoX 1.5", 1360, True)
    assert found["weights_mib"] == {"parts": {"transformer": 8, "vae": 4}, "at_once": 12}
    assert found["license"] == "see the model's page"
    offloaded = f'[models.m]\nsource = "{folder}"\ndtype = "bfloat16"\noffload = "model"\nquantise = "bitsandbytes-nf4"'
    assert entry(tmp_path, offloaded)["weights_mib"] == {"parts": {"transformer": 2, "vae": 2}, "at_once": 2}


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        ("transformer/d-2-of-2.safetensors", ["transformer/d-2-of-2.safetensors"]),
        ("scheduler/scheduler_config.json", ["scheduler"]),
        ("model_index.json", ["model_index.json"]),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path: Path, gone: str, missing: list[str]) -> None:
    """A download that was cut half-way is not taken for a model."""
    folder = a_pipeline(tmp_path / "model")
    (folder / gone).unlink()
    found = entry(tmp_path, f'[models.m]\nsource = "{folder}"')
    assert (found["here"], found["missing"]) == (False, missing)


def test_a_published_model_is_known_before_it_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Family, variant and license by its name; then what the hub's cache holds at that commit, and no other."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    text = f'[models.m]\nsource = "zai-org/CogVideoX1.5-5B"\nrevision = "{COMMIT}"\nframes = 82'
    found = entry(tmp_path, text)
    assert (found["family"], found["license"], found["here"]) == ("CogVideoX 1.5", "CogVideoX License", False)
    assert found["notes"] == ["CogVideoX 1.5 renders 16k+1 frames: 82 became 81."]
    assert (found["weights_mib"], found["page"]) == (None, "https://huggingface.co/zai-org/CogVideoX1.5-5B")
    a_pipeline(tmp_path / "hub" / "models--zai-org--CogVideoX1.5-5B" / "snapshots" / COMMIT)
    assert entry(tmp_path, text)["here"]
    assert not entry(tmp_path, text.replace(COMMIT, COMMIT[::-1]))["here"]


def test_of_an_unknown_model_nothing_is_made_up(tmp_path: Path) -> None:
    """No family, no size, no license; what the operator says of it is told."""
    text = f'[models.m]\nsource = "some/model"\nrevision = "{COMMIT}"\ngated = true'
    found = entry(tmp_path, text)
    assert (found["family"], found["preset"], found["license"]) == (None, None, "see the model's page")
    assert found["gated"]
    assert entry(tmp_path, f'{text}\nlicense = "ours"')["license"] == "ours"


def test_a_file_that_is_no_safetensors_holds_nothing(tmp_path: Path) -> None:
    """Neither text, nor a header that promises more than there can be."""
    (tmp_path / "a").write_text("no")
    (tmp_path / "b").write_bytes(struct.pack("<Q", 1 << 60))
    (tmp_path / "c").write_bytes(struct.pack("<Q", 2) + b"[]")
    assert [parameters(tmp_path / name) for name in "abcd"] == [0, 0, 0, 0]


def test_every_known_family_can_be_told() -> None:
    """With its rule in words, and the models that are known of it."""
    told = [describe_family(family) for family in known_families().values()]
    assert json.loads(json.dumps(told))
    assert {"Wan 2.2", "Wan 2.2 TI2V"} == set(told[0]["variants"])
    assert rule_of(preset_for("WanPipeline")) == "4k+1 frames, sizes in steps of 16"
    assert rule_of(preset_for("AnimateDiffPipeline")) == "any number of frames, sizes in steps of 64"
