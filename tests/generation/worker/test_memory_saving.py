"""Less memory, step by step; that it is really less is shown by test_child.py, in a process that has too little."""

from __future__ import annotations

import pytest

from generation.models.registry import Model
from generation.render_messages import LoadedModel, PipelineOptions
from generation.worker.memory_saving import lighter
from tests.builders.renders import loaded_model


def loaded(device: str = "a GPU", *, tiled: bool = False, can: bool = True, offload: str | None = None) -> LoadedModel:
    return loaded_model(
        device=device,
        can=PipelineOptions(tiling=can, slicing=can, offload=can),
        preset={"vae_tiling": tiled, "vae_slicing": tiled},
        offload=offload or "none",
    )


def test_each_way_takes_less_than_the_one_before() -> None:
    """First the decoder in pieces and one component at a time, then layer by layer; then there is no more."""
    first = lighter(Model("m", "x/y", overrides={"steps": 4}), loaded())
    assert first is not None
    assert first[1] == 'vae_tiling = true, vae_slicing = true, offload = "model"'
    assert first[0].overrides == {"steps": 4, "vae_tiling": True, "vae_slicing": True}
    second = lighter(first[0], loaded(tiled=True, offload="model"))
    assert second is not None
    assert (second[0].offload, second[1]) == ("group", 'offload = "group"')
    assert lighter(second[0], loaded(tiled=True, offload="group")) is None


def test_the_next_way_is_counted_from_the_one_that_was_chosen_here() -> None:
    """Where the models file leaves it open, the child has chosen: it is not tried again."""
    found = lighter(Model("m", "x/y"), loaded(tiled=True, offload="model"))
    assert found is not None
    assert (found[0].offload, found[1]) == ("group", 'offload = "group"')
    assert lighter(Model("m", "x/y"), loaded(tiled=True, offload="group")) is None


def test_a_model_that_does_not_even_load_is_offloaded() -> None:
    """What its decoder can is not known then."""
    found = lighter(Model("m", "x/y"), None)
    assert found is not None
    assert found[1] == 'offload = "model"'


@pytest.mark.parametrize("facts", [loaded("cpu", tiled=True), loaded(can=False)], ids=["no GPU", "no way"])
def test_what_would_have_no_effect_is_not_tried(facts: LoadedModel) -> None:
    """Without a GPU nothing can leave it; a pipeline that offers nothing is left as it is."""
    assert lighter(Model("m", "x/y"), facts) is None
