"""The embedded model: made by its own command, in real processes, and read back by diffusers itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from generation.models.registry import REVISION_FILE, folder_revision
from generation.tiny.make import WEIGHTS, make_tiny_pipeline

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
    """It is a current family's pipeline in the standard format, small, and loses nothing that it reads."""
    texts = ["a red circle", "東京タワー 🎬", "مرحبا بالعالم"]
    loaded = load(tiny_revision[0], *texts)
    assert loaded.returncode == 0, loaded.stderr
    facts = json.loads(loaded.stdout.splitlines()[-1])
    assert facts["kind"] == "LTXPipeline"
    assert [spelt.removesuffix("</s>").strip() for spelt in facts["spelt"]] == texts
    assert facts["parameters"] < 8_000_000  # 16 MB in half precision


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


def test_making_needs_no_torch(tmp_path: Path) -> None:
    """The pipeline is put in place by a process that has not even loaded torch."""
    script = (
        "import sys; from pathlib import Path; from generation.tiny.make import make_tiny_pipeline\n"
        "make_tiny_pipeline(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "tiny")], check=False).returncode == 0


def test_an_older_pipeline_gives_way(tmp_path: Path) -> None:
    """A data folder of an earlier version gets today's weights; nothing of the older ones is left."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "old.safetensors").write_bytes(b"old")
    (folder / REVISION_FILE).write_text("0" * 64 + "\n")
    revision = make_tiny_pipeline(folder)
    assert revision == folder_revision(folder) == folder_revision(WEIGHTS)
    assert not (folder / "old.safetensors").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
