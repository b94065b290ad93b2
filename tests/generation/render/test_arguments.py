"""What a pipeline's call does not take is said; what it would refuse of every prompt ends the load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from generation.models.registry import Model
from generation.render.loading import load
from generation.render.memory import NoPipelineError
from tests.generation.families.built import build

# What torch, diffusers and transformers warn of is theirs; the child that renders writes it to the log.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arguments")


def said(source: Path, **overrides: Any) -> list[str]:
    looks = {"width": 64, "height": 64, "frames": 9, "steps": 2}
    return load(Model("m", str(source), revision="r", overrides={**looks, **overrides})).notes


def test_an_argument_that_a_call_does_not_take_is_said(folder: Path) -> None:
    """A slip of the pen has no effect, and is named; what the call takes is not."""
    wan = build("Wan", folder)
    assert "WanPipeline takes no argument guidance_scale_3: it has no effect." in said(
        wan, arguments={"guidance_scale_3": 3.0}
    )
    assert not any("no effect" in sentence for sentence in said(wan, arguments={"num_videos_per_prompt": 1}))


def test_a_setting_that_a_call_does_not_take_is_said(folder: Path) -> None:
    """As far as the model's own table sets it: what a family sets for all of its models is its own affair."""
    still = build("ModelScope", folder)
    sentence = "TextToVideoSDPipeline takes no max_sequence_length: max_sequence_length has no effect."
    assert sentence in said(still, max_sequence_length=12)
    assert sentence not in said(still)
    guided = build("Motif-Video", folder)
    assert not any("guidance" in each for each in said(guided, guidance=3.0))  # its guider takes it


def test_what_every_prompt_would_be_refused_for_ends_the_load(folder: Path) -> None:
    """A second guidance is for two transformers: Wan 2.1 has one, and no member could mend that."""
    second = {"guidance_scale_2": 3.0}
    with pytest.raises(NoPipelineError, match=r"WanPipeline would refuse every prompt, .*guidance_scale_2"):
        said(build("Wan", folder), arguments=second)
    assert not any("guidance_scale_2" in sentence for sentence in said(build("Wan 2.2", folder), arguments=second))
