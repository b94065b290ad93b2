"""The layers of each family that get an adapter, by patterns that are anchored at both ends."""

from __future__ import annotations

import pytest

from generation.feedback.denoisers.families import FAMILIES, FamilyError, blocks_of, family_of, targets_of
from generation.models.presets import known_families

WAN = [
    f"blocks.{block}.{layer}"
    for block in range(2)
    for layer in (
        *(f"attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0", "norm_q")),
        "ffn.net.0.proj",
        "ffn.net.2",
    )
]
NAMES = ["", "blocks", "blocks.0", "blocks.1", *WAN, "condition_embedder.to_q", "proj_out"]


def test_the_layers_of_all_blocks_and_no_others() -> None:
    """Ten in each block of Wan; norms, embedders and the output stay as they are."""
    targets = targets_of(family_of("WanPipeline"), NAMES)
    assert len(targets) == 20
    assert "blocks.0.attn1.to_out.0" in targets
    assert not any("norm" in name or name in {"proj_out", "condition_embedder.to_q"} for name in targets)
    assert blocks_of(family_of("WanPipeline"), NAMES) == ["blocks.0", "blocks.1"]


@pytest.mark.parametrize("names", [[], ["proj_out"], [n for n in NAMES if n != "blocks.1.ffn.net.2"]])
def test_another_version_of_a_class_is_not_tuned_in_part(names: list[str]) -> None:
    """One layer less than the blocks should have is an error, and so is none at all."""
    with pytest.raises(FamilyError, match="another version"):
        targets_of(family_of("WanPipeline"), names)


def test_a_pipeline_without_adapters_is_a_sentence() -> None:
    """It names those that can be tuned."""
    with pytest.raises(FamilyError, match=r"LattePipeline cannot be tuned here.*WanPipeline"):
        family_of("LattePipeline")


def test_every_family_that_takes_adapters_can_be_tuned() -> None:
    """A preset that is added for a pipeline with adapters is noticed, and so is one here without a preset."""
    import diffusers

    takes = {name for name in known_families() if hasattr(getattr(diffusers, name), "load_lora_weights")}
    assert set(FAMILIES) == takes - {"TextToVideoSDPipeline"}  # its U-Net lacks what the method needs


def test_plain_names_of_a_text_refiner_are_left_alone() -> None:
    """HunyuanVideo's refiner and Mochi's pooler have layers of the same names."""
    block = [f"attn.{n}" for n in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj")]
    block += ["attn.to_add_out", *(f"{ff}.{n}" for ff in ("ff", "ff_context") for n in ("net.0.proj", "net.2"))]
    single = ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out"]
    names = ["transformer_blocks.0", "single_transformer_blocks.0", "proj_out"]
    names += [f"transformer_blocks.0.{n}" for n in block] + [f"single_transformer_blocks.0.{n}" for n in single]
    names += [f"context_embedder.token_refiner.refiner_blocks.0.attn.{n}" for n in ("to_q", "to_k", "to_v")]
    targets = targets_of(family_of("HunyuanVideoPipeline"), names)
    assert len(targets) == 17
    assert not any("refiner" in name or name == "proj_out" for name in targets)
