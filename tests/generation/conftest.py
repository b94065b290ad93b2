"""The embedded model, made once for all tests, and looks of it that suit them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# `quick` takes about a second on two cores; `slow` takes the better part of a minute, and is always interrupted;
# `vast` needs more memory than a test leaves it, and so does `large`, the first time: its steps leave time to say so.
MODELS = """
[models.quick]
source = "tiny"
width = 96
height = 96
frames = 9
steps = 20
upscale = 1

[models.slow]
source = "tiny"
width = 96
height = 96
frames = 9
steps = 1000

[models.large]
source = "tiny"
width = 384
height = 384
frames = 9
steps = 6

[models.vast]
source = "tiny"
width = 2048
height = 2048
frames = 1025
"""


@pytest.fixture(scope="session")
def tiny_revision(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the tiny pipeline as its own command makes it, and the revision that the command says."""
    folder = tmp_path_factory.mktemp("model") / "models" / "tiny"
    made = subprocess.run(
        [sys.executable, "-m", "generation.tiny", str(folder)], capture_output=True, text=True, check=True
    )
    return folder, made.stdout.strip()


@pytest.fixture(scope="session")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "models.toml"
    path.write_text(MODELS)
    return path


@pytest.fixture
def data_dir(tmp_path: Path, tiny_revision: tuple[Path, str]) -> Path:
    """A data folder of one's own, in which the tiny pipeline lies already."""
    folder = tmp_path / "data"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "tiny").symlink_to(tiny_revision[0])
    return folder
