"""Which models there are, and how they render."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from generation.models import ModelError, choose, folder_revision, known_revision, load_models
from generation.presets import Preset, preset_for

COMMIT = "38ec498fcb3208fb688890f8cc7e94ede2cbd7f6"


def models_from(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return dict(load_models(tmp_path, path))


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models = 3", r"needs a table \[models.ID\]"),
        ("[models", "cannot be read"),
        ('[models."Wan 14"]\nsource = "a/b"', "short lowercase word"),
        ("[models.wan]", "needs a source"),
        ('[models.wan]\nsource = "a/b"', "needs a revision"),
        ('[models.wan]\nsource = "a/b"\nrevision = 3', "is not text"),
        ('[models.wan]\nsource = "a/b"\nrevision = ""', "or is empty"),
        ('[models.wan]\nsource = "a/b"\nrevision = " "', "or is empty"),
        (f'[models.wan]\nsource = "{"x" * 300}"', "needs a revision"),
        (f"a = {'[' * 3000}{']' * 3000}", "cannot be read"),
        ('[models.wan]\nsource = "tiny"\nsize = 3', "unknown setting 'size'"),
        ('[models.wan]\nsource = "tiny"\ndtype = "int8"', "use one of float32"),
        ('[models.wan]\nsource = "tiny"\noffload = "disk"', "use one of none"),
        ('[models.wan]\nsource = "tiny"\nsteps = 0', "whole number from 1"),
        ('[models.wan]\nsource = "tiny"\nsteps = true', "whole number from 1"),
        ('[models.wan]\nsource = "tiny"\nframes = 5.5', "whole number from 1"),
        ('[models.wan]\nsource = "tiny"\nguidance = -1', "from 0 to 100"),
        ('[models.wan]\nsource = "tiny"\nnegative_prompt = 3', "is not text"),
    ],
)
def test_a_wrong_file_is_answered_with_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    """Whatever is wrong is named, before anything is loaded."""
    with pytest.raises(ModelError, match=said):
        models_from(tmp_path, text)


def test_a_missing_file_is_answered_with_a_sentence(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ModelError, match=r"nowhere.toml cannot be read"):
        load_models(tmp_path, tmp_path / "nowhere.toml")


def test_wrong_sizes_become_right_and_are_said() -> None:
    """Wan renders 4k+1 frames in multiples of 16 pixels; each value that was changed is named, the others are not."""
    fitted, said = Preset("Wan", 830, 480, 80, 16, 50, 5.0, frame_step=4).fitted()
    assert (fitted.width, fitted.height, fitted.frames) == (832, 480, 81)
    assert said == ["Wan renders 4k+1 frames: 80 became 81.", "Wan wants a width in steps of 16: 830 became 832."]
    assert preset_for("WanPipeline").fitted() == (preset_for("WanPipeline"), [])
    assert preset_for("SomethingNew").fitted()[1] == []


def test_the_tiny_pipeline_is_the_same_wherever_it_is_made(tiny_revision: tuple[Path, str], tmp_path: Path) -> None:
    """A second making has the same revision; it is that of its files; to repeat it in place changes nothing."""
    folder, revision = tiny_revision
    assert folder_revision(folder) == revision
    command = [sys.executable, "-m", "generation.tiny"]
    other = subprocess.run([*command, str(tmp_path / "other")], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == revision
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == revision
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    """The command refuses with a sentence, and nothing is lost."""
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    made = subprocess.run(
        [sys.executable, "-m", "generation.tiny", str(tmp_path / "letters")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 1
    assert "holds no tiny pipeline" in made.stderr
    assert (tmp_path / "letters" / "a.txt").read_text() == "dear"
