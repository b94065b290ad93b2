"""Releases in a warm pipeline: each job gets its own, and without one the frames are the base model's, bit for bit."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from generation.adapters.file import check_adapter, check_numbers
from generation.models.registry import Model
from generation.render.child import Renderer
from generation.render.lora.releases import ReleaseMisfitError
from generation.render_messages import ReleaseAdapter, RenderRequest
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.generation.families.built import build

# What torch, diffusers and transformers warn of is theirs; the child that renders writes it to the log.
pytestmark = pytest.mark.filterwarnings("ignore")

LOOKS = {"width": 64, "height": 64, "frames": 9, "steps": 2, "upscale": 1}


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("Wan", tmp_path_factory.mktemp("releases"))


def a_release(wan: Path, number: int, folder: Path) -> ReleaseAdapter:
    """As diffusers saves what peft has tuned: by `save_lora_weights`, with the settings of the training."""
    import torch
    from diffusers import WanPipeline, WanTransformer3DModel
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(number)
    net = WanTransformer3DModel.from_pretrained(wan / "transformer")
    net.add_adapter(LoraConfig(r=2, lora_alpha=8, init_lora_weights=False, target_modules=r".*attn\d\.to_[qkv]"))
    made = folder / f"made-{number}"
    WanPipeline.save_lora_weights(
        made,
        transformer_lora_layers=get_peft_model_state_dict(net),
        **_collate_lora_metadata({"transformer": net}),
    )
    path, sha256 = write_adapter(folder, (made / "pytorch_lora_weights.safetensors").read_bytes())
    check_adapter(path, sha256)
    check_numbers(path)
    return ReleaseAdapter(number, sha256, str(path))


class Bench:
    """A renderer with a loaded model; every job renders the same prompt and seed."""

    def __init__(self, source: Path, folder: Path, adapters: list[dict[str, object]]) -> None:
        self._folder = folder
        self.renderer = Renderer(io.StringIO())
        model = Model("m", str(source), revision="r", overrides=LOOKS, adapters=adapters)  # type: ignore[arg-type]  # as read
        self.renderer.load(model, 0)

    def frames(self, release: ReleaseAdapter | None) -> str:
        path = self._folder / "a.mp4"
        request = RenderRequest("a red circle", 1, str(path), str(path.with_suffix(".jpg")), release=release)
        card = self.renderer.denoise(request, 1)().provenance
        named = None if release is None else {"number": release.number, "adapter_sha256": release.adapter_sha256}
        assert card["model"].get("release") == named  # type: ignore[union-attr, index, call-overload]  # JSON
        return str(card["frames_sha256"])


def test_each_job_gets_its_release_and_nothing_of_the_former(wan: Path, tmp_path: Path) -> None:
    """A → B → none → A → A; what is loaded is frozen, and a release that does not fit leaves the base model."""
    first, second = a_release(wan, 1, tmp_path), a_release(wan, 2, tmp_path)
    bench = Bench(wan, tmp_path, [])
    base = bench.frames(None)
    a, b = bench.frames(first), bench.frames(second)
    assert len({base, a, b}) == 3
    transformer = bench.renderer._warm.pipeline.transformer  # type: ignore[union-attr]  # it is loaded
    assert not any(p.requires_grad for name, p in transformer.named_parameters() if "lora_" in name)
    assert bench.frames(None) == base
    assert not [name for name, _ in transformer.named_parameters() if re.search("lora_|base_layer", name)]
    assert [bench.frames(first), bench.frames(first), bench.frames(second)] == [a, a, b]
    path, sha256 = write_adapter(tmp_path, adapter_bytes())
    with pytest.raises(ReleaseMisfitError, match="Release 9 cannot be used with this model"):
        bench.frames(ReleaseAdapter(9, sha256, str(path)))
    assert bench.frames(None) == base
    assert bench.frames(replace(first, number=3)) == a  # the number is a name


def test_the_models_own_adapters_stay_beside_a_release(wan: Path, tmp_path: Path) -> None:
    """They are in force before it, with it and after it."""
    own, release = a_release(wan, 1, tmp_path), a_release(wan, 2, tmp_path)
    entry = {"source": str(tmp_path / "adapters"), "revision": None, "weight_name": Path(own.path).name, "scale": 0.5}
    bench = Bench(wan, tmp_path, [entry])
    before = bench.frames(None)
    assert bench.frames(release) not in {before, Bench(wan, tmp_path, []).frames(release)}
    assert bench.frames(None) == before


@pytest.mark.parametrize("has_own", [False, True], ids=["base alone", "with an adapter of its own"])
def test_a_release_can_be_set_aside(wan: Path, tmp_path: Path, has_own: bool) -> None:
    """The model predicts by itself meanwhile, as without any release, and then with the release again."""
    own, release = a_release(wan, 1, tmp_path), a_release(wan, 2, tmp_path)
    folder = str(tmp_path / "adapters")
    entry = {"source": folder, "revision": None, "weight_name": Path(own.path).name, "scale": 0.5}
    bench = Bench(wan, tmp_path, [entry] if has_own else [])
    before, released = bench.frames(None), bench.frames(release)
    switch = bench.renderer._releases
    assert switch is not None
    with switch.set_aside():
        assert bench.frames(release) == before
    assert bench.frames(release) == released != before
    transformer = bench.renderer._warm.pipeline.transformer  # type: ignore[union-attr]  # it is loaded
    names = [name for name, each in transformer.named_parameters() if "release_" in name and each.requires_grad]
    assert not names
    assert bench.frames(None) == before
    with switch.set_aside():  # nothing is in use, and nothing changes
        assert bench.frames(None) == before
