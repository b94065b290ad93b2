"""The adapter in training: without effect at first, off for the reference, and stored so that its strength is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.feedback.denoisers import lora
from generation.feedback.denoisers.families import FamilyError, family_of
from generation.feedback.tensor_files import read_tensors, write_tensors

# What torch and peft warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

FAMILY = family_of("WanPipeline")
RANK = 2


def network() -> Any:
    import torch
    from diffusers import WanTransformer3DModel

    from tests.generation.families.wanlike import DENOISER

    torch.manual_seed(0)
    return WanTransformer3DModel(**{**DENOISER, "num_layers": 1}).eval()


def predicted(net: Any) -> Any:
    import torch

    noise = torch.Generator().manual_seed(1)
    latents, text = torch.randn(1, 16, 1, 4, 4, generator=noise), torch.randn(1, 4, 32, generator=noise)
    with torch.no_grad():
        return net(latents, torch.tensor([500.0]), text, return_dict=False)[0]


def changed(nets: lora.Nets) -> None:
    """Gives the adapter an effect."""
    arrays = lora.arrays_of(nets)
    dice = np.random.default_rng(0)
    lora.set_arrays(nets, {key: dice.normal(0, 0.3, array.shape).astype(np.float32) for key, array in arrays.items()})


@pytest.fixture
def nets() -> Iterator[dict[str, Any]]:
    nets = {"transformer": network()}
    lora.add_adapter(nets, FAMILY, RANK, seed=0)
    yield nets


def test_a_new_adapter_changes_nothing_until_it_is_trained(nets: dict[str, Any]) -> None:
    """Switched on or off, the predictions are the base's; once it has numbers, only the switched-off ones are."""
    import torch

    base = predicted(network())
    net = nets["transformer"]
    assert torch.equal(predicted(net), base)
    changed(nets)
    assert not torch.allclose(predicted(net), base)
    with lora.switched_to(nets, None):
        assert torch.equal(predicted(net), base)
    with lora.switched_to(nets, lora.REFERENCE):
        assert torch.equal(predicted(net), base)
    with lora.without_adapters(nets):
        assert torch.equal(predicted(net), base)
    assert not torch.allclose(predicted(net), base)


def test_only_the_trained_adapter_is_ever_trained(nets: dict[str, Any]) -> None:
    """peft thaws whatever is switched on; here nothing but `default` gets gradients, whatever came before."""

    def trainable() -> set[str]:
        return {name.split(".")[-2] for name, part in nets["transformer"].named_parameters() if part.requires_grad}

    assert trainable() == {lora.TRAINED}
    with lora.switched_to(nets, lora.REFERENCE):
        assert trainable() <= {lora.TRAINED}
    with lora.switched_to(nets, None):
        pass
    assert trainable() == {lora.TRAINED}


def test_an_adapter_in_the_file_is_the_one_in_memory(nets: dict[str, Any], tmp_path: Path) -> None:
    """Loaded by diffusers into another network it predicts the same; the file's bytes are the same each time."""
    import torch

    changed(nets)
    path = tmp_path / lora.FILE
    sha256 = lora.save_adapter(nets, path, RANK)
    assert lora.save_adapter(nets, tmp_path / "again.safetensors", RANK) == sha256
    other = network()
    other.load_lora_adapter(str(tmp_path), prefix="transformer", weight_name=lora.FILE, use_safetensors=True)
    assert torch.allclose(predicted(other), predicted(nets["transformer"]), atol=1e-6)


def test_an_alpha_that_is_not_the_rank_is_not_taken_for_it(nets: dict[str, Any], tmp_path: Path) -> None:
    """A file whose header says another strength is rejected, and so is another rank; a header without a word is not."""
    path = tmp_path / lora.FILE
    lora.save_adapter(nets, path, RANK)
    arrays, metadata = read_tensors(path)
    assert lora.load_adapter(path, RANK).keys() == arrays.keys()
    said = json.loads(metadata[lora.METADATA])
    assert (said["transformer.r"], said["transformer.lora_alpha"]) == (RANK, RANK)
    with pytest.raises(FamilyError, match="not 4 for all"):
        lora.load_adapter(path, 4)
    strong = json.dumps({**said, "transformer.lora_alpha": 32})
    write_tensors(path, arrays, {**metadata, lora.METADATA: strong})
    with pytest.raises(FamilyError, match=r"alphas \[32\]"):
        lora.load_adapter(path, RANK)
    write_tensors(path, arrays)
    assert lora.load_adapter(path, RANK).keys() == arrays.keys()


def test_numbers_of_another_model_are_not_taken(nets: dict[str, Any]) -> None:
    """Other layers or shapes are an error, and nothing has changed."""
    arrays = lora.arrays_of(nets)
    with pytest.raises(FamilyError, match="other layers"):
        lora.set_arrays(nets, dict(list(arrays.items())[1:]))
    key = min(arrays)
    with pytest.raises(FamilyError, match="the shape"):
        lora.set_arrays(nets, {**arrays, key: np.zeros((3, 3), np.float32)})


def test_scaling_back_halves_the_effect_of_half_an_adapter(nets: dict[str, Any]) -> None:
    """The factor follows the square root of the drift, and what is within the cap stays as it is."""
    changed(nets)
    before = lora.arrays_of(nets)
    lora.scale(nets, lora.scale_for(drift=0.32, cap=0.08))
    for key, array in lora.arrays_of(nets).items():
        np.testing.assert_allclose(array, before[key] * (0.5 if ".lora_B." in key else 1.0))
    assert lora.scale_for(0.05, 0.08) == 1.0
