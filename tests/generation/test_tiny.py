"""The embedded model: made by its own command, in real processes, and read back by diffusers itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from generation.models.registry import REVISION_FILE, folder_revision

MAKE = [sys.executable, "-m", "generation.tiny"]

# In a process of its own: what torch and its friends warn of at import is not ours.
LOAD = """
import json, sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], use_safetensors=True, local_files_only=True)
spelt = [pipeline.tokenizer.decode(pipeline.tokenizer(text).input_ids) for text in sys.argv[2:]]
parameters = sum(p.numel() for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder)
                 for p in part.parameters())
print(json.dumps({"kind": type(pipeline).__name__, "spelt": spelt, "parameters": parameters}))
"""


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MAKE, str(folder)], capture_output=True, text=True, check=False)


def load(folder: Path, *texts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), *texts], capture_output=True, text=True, check=False
    )


def test_diffusers_loads_it_like_any_model(tiny_revision: tuple[Path, str]) -> None:
    """It is a current family's pipeline in the standard format, small, and reads every script without loss."""
    texts = ["a red circle", "日本の夜 🎬", "مرحبا بالعالم"]
    loaded = load(tiny_revision[0], *texts)
    assert loaded.returncode == 0, loaded.stderr
    facts = json.loads(loaded.stdout.splitlines()[-1])
    assert facts["kind"] == "LTXPipeline"
    assert [spelt.removesuffix("</s>").strip() for spelt in facts["spelt"]] == texts
    assert facts["parameters"] < 6_000_000


def test_a_folder_without_its_index_is_no_model(tiny_revision: tuple[Path, str], tmp_path: Path) -> None:
    """The twin: what lacks one file is not loaded by accident from anywhere else."""
    part = tmp_path / "part"
    part.mkdir()
    for entry in tiny_revision[0].iterdir():
        if entry.name != "model_index.json":
            (part / entry.name).symlink_to(entry)
    loaded = load(part)
    assert loaded.returncode != 0
    assert "model_index.json" in loaded.stderr


def test_it_holds_no_code_and_no_pickle(tiny_revision: tuple[Path, str]) -> None:
    """Only JSON, text and safetensors: a folder that is loaded cannot run anything."""
    kinds = {path.suffix for path in tiny_revision[0].rglob("*") if path.is_file() and path.name != REVISION_FILE}
    assert ".safetensors" in kinds
    assert kinds <= {".safetensors", ".json", ".txt", ".jinja", ".md"}


def test_the_revision_is_that_of_its_files(tiny_revision: tuple[Path, str], tmp_path: Path) -> None:
    """A renamed file and a changed byte each make another revision; where the folder lies does not."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(tiny_revision[0]), str(copy)], check=True)
    assert folder_revision(copy) == tiny_revision[1]
    index = copy / "model_index.json"
    index.write_text(index.read_text() + "\n")
    changed = folder_revision(copy)
    assert changed != tiny_revision[1]
    index.rename(copy / "model_index2.json")
    assert folder_revision(copy) not in {changed, tiny_revision[1]}


def test_two_processes_make_it_at_once(tiny_revision: tuple[Path, str], tmp_path: Path) -> None:
    """Both say the same revision, and one whole folder without drafts is left."""
    folder = tmp_path / "models" / "tiny"
    makers = [
        subprocess.Popen([*MAKE, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [maker.communicate(timeout=60) for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0], said
    assert [out.strip() for out, _ in said] == [tiny_revision[1]] * 2
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    assert folder_revision(folder) == tiny_revision[1]


@pytest.mark.parametrize("arguments", [[], ["a", "b"]], ids=["none", "two"])
def test_a_wrong_command_line_is_answered_with_its_usage(arguments: list[str], tmp_path: Path) -> None:
    """Nothing is made."""
    said = subprocess.run([*MAKE, *arguments], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert said.stderr.startswith("usage: python -m generation.tiny FOLDER")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Where the parent is a file there is a sentence, no trace, and the file stays as it was."""
    (tmp_path / "file").write_text("mine")
    said = make(tmp_path / "file" / "tiny")
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert (tmp_path / "file").read_text() == "mine"
