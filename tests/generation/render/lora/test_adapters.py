"""What an adapter's file holds is compared with what came to lie in the pipeline; half an adapter is none."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generation.models.registry import Model
from generation.models.weights import list_tensors
from generation.render.child import Renderer
from generation.render.loading import load
from generation.render.memory import NoPipelineError
from generation.render_messages import RenderRequest
from tests.generation.families.built import build

# What torch, diffusers and transformers warn of is theirs; the child that renders writes it to the log.
pytestmark = pytest.mark.filterwarnings("ignore")

LOOKS = {"width": 64, "height": 64, "frames": 9, "steps": 2, "upscale": 2}
RANK = 4
Tensors = dict[str, Any]
Rename = Callable[[str], str]

# Names of the original code for what diffusers calls otherwise.
ORIGINAL = {"attn1.": "self_attn.", "attn2.": "cross_attn.", "to_out.0": "o", "to_q": "q", "to_k": "k", "to_v": "v"}


@pytest.fixture(scope="session")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("Wan", tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="session")
def tensors(wan: Path) -> Tensors:
    """An adapter of all attention, as diffusers names it: 8 layers in each of 2 blocks, two halves each."""
    import torch
    from diffusers import WanTransformer3DModel

    noise = torch.Generator().manual_seed(1)
    made = {}
    for name, module in WanTransformer3DModel.from_pretrained(wan / "transformer").named_modules():
        if re.search(r"attn\d\.to_", name) and isinstance(module, torch.nn.Linear):
            made[f"transformer.{name}.lora_A.weight"] = torch.randn(RANK, module.in_features, generator=noise) / 4
            made[f"transformer.{name}.lora_B.weight"] = torch.randn(module.out_features, RANK, generator=noise) / 4
    assert len(made) == 32
    return made


def original(key: str) -> str:
    for ours, theirs in ORIGINAL.items():
        key = key.replace(ours, theirs)
    return key.removeprefix("transformer.")


def save(folder: Path, tensors: Tensors, name: str = "f.safetensors") -> list[dict[str, Any]]:
    """Writes an adapter; the entry that names it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, folder / name)
    return [{"source": str(folder), "revision": None, "weight_name": name, "scale": 1.0}]


def model(source: Path, adapters: list[dict[str, Any]]) -> Model:
    return Model("m", str(source), revision="r", overrides=LOOKS, adapters=adapters)


def rendered(made: Model, at: Path) -> str:
    """The hash of the frames that such a model renders."""
    renderer = Renderer(io.StringIO())
    renderer.load(made, 0)
    request = RenderRequest("a red circle", 1, str(at / "a.mp4"), str(at / "a.jpg"))
    return str(renderer.denoise(request, 1)().provenance["frames_sha256"])


@pytest.fixture(scope="session")
def adapted(wan: Path, tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The frames with the adapter as diffusers names it."""
    folder = tmp_path_factory.mktemp("adapted")
    frames = rendered(model(wan, save(folder, tensors)), folder)
    assert frames != rendered(model(wan, []), folder)
    return frames


FORMS: dict[str, Rename] = {
    "no prefix": lambda key: key.removeprefix("transformer."),
    "peft's": lambda key: key.replace("transformer.", "base_model.model."),
    "peft's in memory": lambda key: key.replace("transformer.", "base_model.model.").replace(
        ".weight", ".default.weight"
    ),
    "DiffSynth's": lambda key: original(key).replace(".weight", ".default.weight"),
    "DiffSynth's pipeline": lambda key: f"pipe.dit.{original(key)}",
    "ComfyUI's": lambda key: f"diffusion_model.{original(key)}",
    "the original code's": lambda key: f"model.diffusion_model.{original(key)}",
}


@pytest.mark.parametrize("form", FORMS)
def test_an_adapter_is_the_same_in_each_form(
    form: str, wan: Path, tensors: Tensors, adapted: str, tmp_path: Path
) -> None:
    """As trainers write it: the same frames. Where names are a trainer's own, it is said that no strength is known."""
    made = model(wan, save(tmp_path, {FORMS[form](key): tensor for key, tensor in tensors.items()}))
    said = [sentence for sentence in load(made).notes if sentence.startswith("Adapter")]
    assert len(said) == (form != "ComfyUI's")
    assert all("its lora_alpha is taken for its rank" in sentence for sentence in said)
    assert rendered(made, tmp_path) == adapted


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"lora_alpha": 8, "r": RANK}, 2.0),
        ({"lora_alpha": 4, "r": RANK, "use_rslora": True}, 2.0),
        ({"lora_alpha": 1, "r": 1, "alpha_pattern": {r"attn\d\.to_.*": 8}}, 2.0),
        ({"lora_alpha": RANK, "r": RANK}, 1.0),
    ],
)
def test_the_strength_of_pefts_adapters_is_that_of_their_config(
    config: dict[str, Any], factor: float, wan: Path, tensors: Tensors, tmp_path: Path
) -> None:
    """Alpha by rank, or by its root, for all layers or by their names."""
    peft = {FORMS["peft's"](key): tensor for key, tensor in tensors.items()}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    made = model(wan, save(tmp_path, peft))
    assert not any(sentence.startswith("Adapter") for sentence in load(made).notes)
    stronger = {key: tensor * (factor if "lora_B" in key else 1.0) for key, tensor in tensors.items()}
    assert rendered(made, tmp_path) == rendered(model(wan, save(tmp_path / "strong", stronger)), tmp_path)


def test_what_a_component_of_diffusers_saves_is_as_strong_as_it_was(wan: Path, tmp_path: Path) -> None:
    """Its names have no prefix, and its strength stands in the file's header alone."""
    import torch
    from diffusers import WanTransformer3DModel
    from peft import LoraConfig

    transformer = WanTransformer3DModel.from_pretrained(wan / "transformer")
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=4 * RANK, target_modules=["to_q"]), "trained")
    noise = torch.Generator().manual_seed(2)
    for name, tensor in transformer.named_parameters():
        if "lora_B" in name:
            tensor.data = torch.randn(tensor.shape, generator=noise) / 4
    transformer.save_lora_adapter(tmp_path / "saved", "trained", weight_name="f.safetensors")
    entry = {"source": str(tmp_path / "saved"), "revision": None, "weight_name": "f.safetensors", "scale": 1.0}
    made = model(wan, [entry])
    assert not any(sentence.startswith("Adapter") for sentence in load(made).notes)
    from safetensors.torch import load_file

    stronger = {
        f"transformer.{key}": tensor * (4.0 if "lora_B" in key else 1.0)
        for key, tensor in load_file(tmp_path / "saved" / "f.safetensors").items()
    }
    assert rendered(made, tmp_path) == rendered(model(wan, save(tmp_path / "strong", stronger)), tmp_path)


def test_a_second_denoiser_that_goes_without_is_said(tensors: Tensors, tmp_path: Path) -> None:
    """A part of the steps is rendered by it: whoever set the adapter must know."""
    two = build("Wan 2.2", tmp_path)
    [sentence] = [one for one in load(model(two, save(tmp_path / "one", tensors))).notes if one.startswith("Adapter")]
    assert "changes transformer alone: transformer_2 renders its steps without it" in sentence


def test_a_file_for_both_denoisers_changes_both(tensors: Tensors, tmp_path: Path) -> None:
    """At the strength that its header says of each; nothing is left to say."""
    import torch
    from safetensors.torch import save_file

    two = build("Wan 2.2", tmp_path)
    both = {**tensors, **{f"transformer_2.{key.partition('.')[2]}": 2 * half for key, half in tensors.items()}}
    layers = sorted({key.partition(".")[2].partition(".lora_")[0] for key in tensors})
    settings = {"r": RANK, "lora_alpha": 4 * RANK, "target_modules": layers}
    says = {f"{part}.{name}": value for part in ("transformer", "transformer_2") for name, value in settings.items()}
    entries = save(tmp_path / "both", tensors)
    save_file(both, tmp_path / "both" / "f.safetensors", metadata={"lora_adapter_metadata": json.dumps(says)})
    warm = load(model(two, entries))
    assert not [sentence for sentence in warm.notes if sentence.startswith("Adapter")]
    for name in ("transformer", "transformer_2"):
        layer = warm.pipeline.components[name].blocks[1].attn1.to_q
        half = both[f"{name}.blocks.1.attn1.to_q.lora_A.weight"]
        assert torch.equal(layer.lora_A["adapter_0"].weight, half)
        assert layer.scaling["adapter_0"] == 4


def test_what_peft_itself_saves_is_read(wan: Path, tmp_path: Path) -> None:
    """Its files, its names and its strength, against the model that peft has made."""
    import torch
    from diffusers import WanTransformer3DModel
    from peft import LoraConfig, get_peft_model

    bare = WanTransformer3DModel.from_pretrained(wan / "transformer")
    torch.manual_seed(2)
    targets = ["to_q", "to_k", "to_v"]
    wrapped = get_peft_model(bare, LoraConfig(r=4, lora_alpha=12, init_lora_weights=False, target_modules=targets))
    wrapped.save_pretrained(tmp_path)
    entry = {"source": str(tmp_path), "revision": None, "weight_name": "adapter_model.safetensors", "scale": 1.0}
    loaded = load(model(wan, [entry])).pipeline.transformer
    for name, module in wrapped.merge_and_unload().named_modules():
        if name.endswith("attn1.to_q"):
            ours = loaded.get_submodule(name)
            merged = ours.base_layer.weight + ours.get_delta_weight("adapter_0")
            assert torch.allclose(merged, module.weight, atol=1e-6)


def misfit(made: Model) -> str:
    with pytest.raises(NoPipelineError) as caught:
        load(made)
    return str(caught.value)


def test_a_part_that_fits_is_not_enough(wan: Path, tensors: Tensors, tmp_path: Path) -> None:
    """How many keys fit is said, with one that does not: of more blocks, of another model, of a second transformer."""
    deeper = {key.replace("blocks.1", "blocks.17"): tensor for key, tensor in tensors.items()}
    text = misfit(model(wan, save(tmp_path, deeper)))
    assert text.startswith("Adapter f.safetensors: 16 of 32 keys fit WanPipeline; among the others is transformer.")
    assert "blocks.17.attn1.to_k.lora_A.weight" in text
    assert text.endswith("Take one that was made for this very model, its size included.")
    one_more = {
        **tensors,
        "transformer.nowhere.lora_A.weight": tensors["transformer.blocks.0.attn1.to_q.lora_A.weight"],
    }
    assert "32 of 33 keys fit" in misfit(model(wan, save(tmp_path, one_more)))
    second = {**tensors, **{key.replace("transformer.", "transformer_2."): value for key, value in tensors.items()}}
    assert "32 of 64 keys fit" in misfit(model(wan, save(tmp_path, second)))
    comfy = {f"diffusion_model.{original(key)}": tensor for key, tensor in deeper.items()}
    assert "16 of 32 keys fit" in misfit(model(wan, save(tmp_path, comfy)))


def test_a_half_without_its_other_half_is_noticed(wan: Path, tensors: Tensors, tmp_path: Path) -> None:
    """A layer with one of two would be drawn, or nothing."""
    lost = "transformer.blocks.0.attn1.to_q.lora_B.weight"
    text = misfit(model(wan, save(tmp_path, {key: value for key, value in tensors.items() if key != lost})))
    assert text == f"Adapter f.safetensors lacks {list_tensors([lost])}: the other half is there. Download it again."


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_down_blocks_0_attentions_0_to_q.lora_up.weight",  # SD 1.5
        "diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight",  # HunyuanVideo
        "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight",  # LTX-Video
        "transformer.blocks.0.attn1.to_q.lokr_w1",
        "blocks.0.attn1.to_q.hada_w1_a",
    ],
)
def test_an_adapter_of_something_else_is_named_with_its_keys(
    key: str, wan: Path, tensors: Tensors, tmp_path: Path
) -> None:
    """The file, how its keys are named, and how they would be in a file that fits."""
    text = misfit(model(wan, save(tmp_path, {key: tensors["transformer.blocks.0.attn1.to_q.lora_A.weight"]})))
    assert text.startswith(f"Adapter f.safetensors: its 1 keys, such as {key}, do not fit. Those that fit WanPipeline")
    assert "are named as transformer.blocks.0.attn1.to_q.lora_A.weight is. Take one" in text


def test_an_adapter_of_a_model_of_another_size_is_told_by_its_shapes(
    wan: Path, tensors: Tensors, tmp_path: Path
) -> None:
    """The keys are the same; the numbers are not for this model."""
    import torch

    wider = {key: torch.cat([tensor, tensor], dim=1 if "lora_A" in key else 0) for key, tensor in tensors.items()}
    assert "have other shapes than this model's" in misfit(model(wan, save(tmp_path, wider)))


def test_keys_that_no_library_heeds_are_said_with_their_count(wan: Path, tensors: Tensors, tmp_path: Path) -> None:
    """As lightx2v's and DoRA's files have them; what is heeded of such files is not named."""
    import torch

    comfy = {f"diffusion_model.{original(key)}": tensor for key, tensor in tensors.items()}
    comfy |= {f"diffusion_model.blocks.{number}.norm3.diff": torch.ones(24) for number in range(2)}
    comfy |= {f"diffusion_model.blocks.{number}.norm3.diff_b": torch.ones(24) for number in range(2)}
    comfy |= {f"diffusion_model.blocks.{number}.modulation.diff_m": torch.ones(24) for number in range(3)}
    comfy |= {"diffusion_model.blocks.0.self_attn.q.diff_b": torch.ones(24)}
    said = [sentence for sentence in load(model(wan, save(tmp_path, comfy))).notes if sentence.startswith("Adapter")]
    assert said == [
        f"Adapter f.safetensors: {number} keys of the kind {kind!r} have no effect, since no library here heeds them."
        for number, kind in ((2, "diff"), (3, "diff_m"), (2, "diff_b"))
    ]
    scales = {"transformer.blocks.0.attn1.to_q.dora_scale": torch.ones(24, 1)}
    said = [
        sentence
        for sentence in load(model(wan, save(tmp_path, {**tensors, **scales}))).notes
        if sentence.startswith("Adapter")
    ]
    assert said == [
        "Adapter f.safetensors: 1 keys of the kind 'dora_scale' have no effect, since no library here heeds them."
    ]
    assert not any(sentence.startswith("Adapter") for sentence in load(model(wan, save(tmp_path, tensors))).notes)


def test_alpha_in_the_file_is_heeded_and_not_counted(wan: Path, tensors: Tensors, adapted: str, tmp_path: Path) -> None:
    """As kohya's trainers and ComfyUI's write it: the strength is alpha by rank."""
    import torch

    comfy = {f"diffusion_model.{original(key)}": tensor for key, tensor in tensors.items()}
    owners = {key.partition(".lora_")[0] for key in comfy}
    same = {f"{owner}.alpha": torch.tensor(float(RANK)) for owner in owners}
    assert rendered(model(wan, save(tmp_path, {**comfy, **same})), tmp_path) == adapted
    half = {f"{owner}.alpha": torch.tensor(RANK / 2) for owner in owners}
    assert rendered(model(wan, save(tmp_path, {**comfy, **half})), tmp_path) != adapted


def test_a_file_that_is_no_adapter_is_said(wan: Path, tmp_path: Path) -> None:
    """One that is not there, is empty, was cut off, or is a pointer of git-lfs."""
    entry = save(tmp_path, {})
    assert "is empty" in misfit(model(wan, entry))
    (tmp_path / "f.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "pointer of git-lfs" in misfit(model(wan, entry))
    (tmp_path / "f.safetensors").write_bytes(b"\x10")
    assert "is no safetensors file, or is cut off" in misfit(model(wan, entry))
    (tmp_path / "f.safetensors").unlink()
    text = "f.safetensors cannot be read (No such file or directory). Check the models file."
    assert misfit(model(wan, entry)) == text


def test_several_adapters_are_each_compared(wan: Path, tensors: Tensors, tmp_path: Path) -> None:
    """What the first has brought is not taken for the second's."""
    good = save(tmp_path / "good", tensors, "good.safetensors")
    load(model(wan, good + save(tmp_path / "again", tensors)))
    bad = save(tmp_path / "bad", {key.replace("blocks.1", "blocks.17"): tensor for key, tensor in tensors.items()})
    assert "f.safetensors: 16 of 32" in misfit(model(wan, good + bad))


@pytest.mark.parametrize("old", [False, True], ids=["names of today", "names of old"])
def test_adapters_of_a_unet_are_counted_in_either_form(old: bool, wan: Path, tmp_path: Path) -> None:
    """Motion adapters of AnimateDiff have the names of an older diffusers."""
    import torch

    folder = build("AnimateDiff", wan.parent)
    owners = [f"down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_{letter}" for letter in "qk"]
    unet = load(model(folder, [])).pipeline.unet
    halves = {}
    for owner in owners:
        layer = unet.get_submodule(owner)
        down, up = torch.randn(2, layer.in_features), torch.randn(layer.out_features, 2)
        if old:
            stem, _, last = owner.rpartition(".")
            halves |= {f"unet.{stem}.processor.{last}_lora.down.weight": down}
            halves |= {f"unet.{stem}.processor.{last}_lora.up.weight": up}
        else:
            halves |= {f"unet.{owner}.lora_A.weight": down, f"unet.{owner}.lora_B.weight": up}
    loaded = load(model(folder, save(tmp_path, halves)))
    assert not any(sentence.startswith("Adapter") for sentence in loaded.notes)
    name = next(iter(halves))
    stray = {**halves, name.replace("down_blocks.0", "down_blocks.7"): halves[name]}
    assert "4 of 5 keys fit" in misfit(model(folder, save(tmp_path, stray)))


def test_an_adapter_of_single_pictures_brings_its_text_encoder_along(wan: Path, tmp_path: Path) -> None:
    """As kohya's trainers write it for Stable Diffusion, under names of which neither part has any."""
    import torch

    folder = build("AnimateDiff", wan.parent)
    pipeline = load(model(folder, [])).pipeline
    stems = {"lora_unet_": pipeline.unet, "lora_te_text_model_": pipeline.text_encoder}
    halves = {}
    for stem, part in stems.items():
        for name, layer in part.named_modules():
            if re.search(r"attentions.*to_[qv]$|self_attn\.\w+_proj$", name):
                owner = f"{stem}{name.removeprefix('text_model.').replace('.', '_')}"
                halves[f"{owner}.lora_down.weight"] = torch.randn(2, layer.in_features)
                halves[f"{owner}.lora_up.weight"] = torch.randn(layer.out_features, 2)
                halves[f"{owner}.alpha"] = torch.tensor(1.0)
    assert {key.split("_")[1] for key in halves} == {"unet", "te"}
    loaded = load(model(folder, save(tmp_path, halves)))
    assert not any(sentence.startswith("Adapter") for sentence in loaded.notes)
    assert len(loaded.pipeline.text_encoder.peft_config) == len(loaded.pipeline.unet.peft_config) == 1


def test_a_component_that_takes_no_adapters_is_said(wan: Path, tensors: Tensors, tmp_path: Path) -> None:
    """The pipeline of ModelScope has the method, and its U-Net lacks what that needs."""
    folder = build("ModelScope", wan.parent)
    assert misfit(model(folder, save(tmp_path, tensors))).startswith("TextToVideoSDPipeline takes no adapters; remove")
