"""Revisions: of a folder's files, hashed once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from generation.models.revisions import folder_revision, with_parts


def test_weights_are_hashed_once(tmp_path: Path) -> None:
    """A file that has not changed is not read again; one that has makes another revision. A damaged memory is none."""
    folder, memory = tmp_path / "model", tmp_path / "hashes.json"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"weights")
    (folder / "model_index.json").write_text("{}")
    first = folder_revision(folder, memory)
    assert folder_revision(folder) == first
    remembered = json.loads(memory.read_text())
    assert len(remembered) == 2
    key = str((folder / "a.safetensors").resolve())
    remembered[key][1] = "00" * 32  # as it would be read, if it were not read
    memory.write_text(json.dumps(remembered))
    assert folder_revision(folder, memory) != first
    memory.write_text("[")
    assert folder_revision(folder, memory) == first
    (folder / "a.safetensors").write_bytes(b"heavier weights")
    assert folder_revision(folder, memory) == folder_revision(folder) != first


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


def test_parts_of_other_sources_are_part_of_the_revision() -> None:
    """Without any it is the base's; any other part makes another one."""
    assert with_parts("a" * 40, None) == with_parts("a" * 40, []) == "a" * 40
    one, other = with_parts("a" * 40, [{"scale": 1.0}]), with_parts("a" * 40, [{"scale": 0.5}])
    assert one.startswith("a" * 40 + "+")
    assert len(one) == 40 + 1 + 16
    assert one != other
