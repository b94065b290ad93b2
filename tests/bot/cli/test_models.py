"""`flock models`, as an operator types it: in a process of its own, without torch and without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.models import a_model

COMMIT = "38ec498fcb3208fb688890f8cc7e94ede2cbd7f6"
MODELS = f"""
[models.wan14b]
source = "Wan-AI/Wan2.1-T2V-14B-Diffusers"
revision = "{COMMIT}"
frames = 80
"""


def flock_models(tmp_path: Path, text: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "models.toml").write_text(text)
    environment = {
        "FLOCK_MODELS_FILE": str(tmp_path / "models.toml"),
        "FLOCK_DATA_DIR": str(tmp_path / "data"),
        "HF_HOME": str(tmp_path / "hub"),
        "PYTHONPATH": str(Path(__file__).parents[3]),
        **settings,
    }
    command = [sys.executable, "-X", "importtime", "-m", "bot", "models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)


def test_models_are_listed(tmp_path: Path) -> None:
    """What they render, what was rounded, whether they are here, under which license; which one is chosen."""
    said = flock_models(tmp_path, MODELS, FLOCK_MODEL_ID="wan14b")
    assert said.returncode == 0, said.stderr
    assert "wan14b (FLOCK_MODEL_ID)\n  family    Wan\n" in said.stdout
    assert "81 frames of 832x480 at 16 a second (5.1 s), 50 steps, guidance 5" in said.stdout
    assert "80 became 81" in said.stdout
    assert "not here: fetched at the first start" in said.stdout
    assert "Apache-2.0 https://huggingface.co/Wan-AI/Wan2.1-T2V-14B-Diffusers" in said.stdout
    assert "tiny\n" in said.stdout
    assert "with FLock" in said.stdout
    assert "torch" not in {line.rpartition("|")[2].strip() for line in said.stderr.splitlines()}


def test_programs_read_the_same_as_json(tmp_path: Path) -> None:
    """One object, with the models or with the families."""
    models = json.loads(flock_models(tmp_path, MODELS, "--json").stdout)["models"]
    assert [(model["id"], model["chosen"], model["revision"]) for model in models] == [
        ("tiny", True, None),
        ("wan14b", False, COMMIT),
    ]
    families = json.loads(flock_models(tmp_path, MODELS, "--families", "--json").stdout)["families"]
    assert {"Wan", "LTX-Video", "LTX-2", "HunyuanVideo 1.5"} <= {family["family"] for family in families}


def test_families_are_listed(tmp_path: Path) -> None:
    """Their rules and models, without a models file that can be read."""
    said = flock_models(tmp_path, "[models", "--families")
    assert said.returncode == 0
    assert "4k+1 frames, sizes in steps of 16" in said.stdout
    assert "genmo/mochi-1-preview (Apache-2.0, 10 billion)" in said.stdout
    assert "Lightricks/LTX-Video (license: see its page)" in said.stdout
    few = (
        "wan2.1_t2v_14b_lora_rank64_lightx2v_4step.safetensors: 4 steps, guidance 1 (license: see its page); Of Wan 2.1"
    )
    assert f"  few steps lightx2v/Wan2.1-Distill-Loras/{few}" in said.stdout
    assert "  on a GPU  dtype bfloat16, where the weights do not fit offload model\n" in said.stdout


def test_weights_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    """Of files that are here: cut off, or scaled; those of a whole one are only said to be here."""
    whole = flock_models(tmp_path, a_model(tmp_path / "model", "a.weight")).stdout
    assert "  files     here\n" in whole
    assert "cannot be used" not in whole
    cut = flock_models(tmp_path, a_model(tmp_path / "model", "a.weight", cut=2)).stdout
    assert "  files     cannot be used: vae: diffusion_pytorch_model.safetensors is cut off: it has " in cut
    assert "files     here\n" not in cut
    scaled = flock_models(tmp_path, a_model(tmp_path / "model", "a.weight", "a.scale_weight"), "--json").stdout
    [mine] = [model for model in json.loads(scaled)["models"] if model["id"] == "mine"]
    assert not mine["here"]
    assert mine["unusable"][0].startswith("vae: its weights have scales (1 tensor (a.scale_weight))")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("[models", "cannot be read"), (MODELS.replace(COMMIT, "main"), "revision = 'main' is no commit")],
    ids=["no TOML", "a branch"],
)
def test_a_wrong_file_is_answered_with_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    """And with exit code 1; nothing is listed."""
    said = flock_models(tmp_path, text)
    assert (said.returncode, said.stdout) == (1, "")
    assert sentence in said.stderr
    assert "Traceback" not in said.stderr
