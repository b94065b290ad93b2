"""The hand-over to SimpleTuner: a folder with the liked videos and its settings; nothing of it is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from generation.feedback.tuning.examples import VIDEOS, Example
from generation.feedback.tuning.handover import HandoverError, write_handover
from generation.feedback.tuning.recipe import Recipe
from generation.models.presets import known_families
from generation.models.registry import Model

WAN = Model("wan", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", revision="abc")
PRESET = known_families()["WanPipeline"].preset
EXAMPLES = [Example(f"v{k}", f"prompt\n {k // 4}", k, up=3 * (k % 4 == 0), down=k % 4) for k in range(8)]


def with_videos(folder: Path) -> Path:
    (folder / VIDEOS).mkdir(parents=True)
    for example in EXAMPLES:
        (folder / VIDEOS / f"{example.video}.mp4").write_bytes(example.video.encode())
    return folder


def test_the_folder_holds_the_liked_videos_and_their_captions(tmp_path: Path) -> None:
    """The best of each prompt, each beside its prompt in one line, and settings that name folder, model and rank."""
    out = tmp_path / "out"
    assert write_handover(out, "WanPipeline", WAN, PRESET, EXAMPLES, with_videos(tmp_path / "data"), Recipe()) == 2
    files = {path.name: path.read_text() for path in (out / "datasets" / "videos").iterdir()}
    assert files == {"v0.mp4": "v0", "v0.txt": "prompt 0\n", "v4.mp4": "v4", "v4.txt": "prompt 1\n"}
    config = json.loads((out / "config" / "config.json").read_text())
    assert config["model_family"] == "wan"
    assert (config["pretrained_model_name_or_path"], config["revision"]) == (WAN.source, "abc")
    assert config["lora_rank"] == config["lora_alpha"] == 8
    backends = json.loads((out / config["data_backend_config"]).read_text())
    assert backends[0]["instance_data_dir"] == "datasets/videos"
    assert (out / backends[0]["instance_data_dir"]).is_dir()
    assert [backend["dataset_type"] for backend in backends] == ["video", "text_embeds"]
    assert "simpletuner train" in (out / "README.md").read_text()


def test_what_cannot_be_handed_over_is_a_sentence(tmp_path: Path) -> None:
    """A family that SimpleTuner does not know, a folder in use, videos that are missing: nothing is written."""
    data = with_videos(tmp_path / "data")
    for kind, words in (("MochiPipeline", "cannot be handed over"), ("WanPipeline", "lacks 1 of 2 videos")):
        if kind == "WanPipeline":
            (data / VIDEOS / "v4.mp4").unlink()
        with pytest.raises(HandoverError, match=words):
            write_handover(tmp_path / "out", kind, WAN, PRESET, EXAMPLES, data, Recipe())
        assert not (tmp_path / "out").exists()
    with pytest.raises(HandoverError, match="is not empty"):
        write_handover(data, "WanPipeline", WAN, PRESET, EXAMPLES, data, Recipe())


def test_nothing_of_simpletuner_is_imported() -> None:
    """Its license and its versions stay in an environment of their own."""
    code = "import sys, generation.feedback.tuning.handover; sys.exit('simpletuner' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
