"""What a component's files hold is compared with what its class wants: nothing is drawn at random in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generation.models.inventory import describe
from generation.models.registry import Model
from generation.render.loading import load
from generation.render.memory import NoPipelineError
from generation.render_messages import RenderRequest
from generation.worker.render_process import RenderChild, RenderError
from tests.generation.families import others, unets
from tests.generation.families.built import FAMILIES, build

# What torch, diffusers and transformers warn of is theirs; the child that renders writes it to the log.
pytestmark = pytest.mark.filterwarnings("ignore")

LOOKS = {"width": 64, "height": 64, "frames": 9, "steps": 2, "upscale": 2}
LOST = "blocks.1.attn1.to_q.weight"
Tensors = dict[str, Any]
Change = Callable[[Tensors], Any]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("components")


@pytest.fixture
def wan(built: Path, tmp_path: Path) -> Path:
    """A Wan of this test alone."""
    return Path(shutil.copytree(build("Wan", built), tmp_path / "wan"))


def model(source: Path, **settings: Any) -> Model:
    return Model("m", str(source), revision="r", overrides={**LOOKS, **settings.pop("overrides", {})}, **settings)


def rewrite(path: Path, change: Change) -> None:
    """Changes the tensors of a file."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def weights(folder: Path, part: str) -> Path:
    [path] = (folder / part).glob("*.safetensors")
    return path


def shard(folder: Path) -> dict[str, str]:
    """Saves the transformer once more, in several files; which of them holds what."""
    from diffusers import WanTransformer3DModel

    whole = WanTransformer3DModel.from_pretrained(folder / "transformer")
    shutil.rmtree(folder / "transformer")
    whole.save_pretrained(folder / "transformer", max_shard_size="40KB")
    [index] = (folder / "transformer").glob("*.index.json")
    return dict(json.loads(index.read_text())["weight_map"])


def to_float8(tensors: Tensors) -> list[str]:
    import torch

    changed = [name for name in tensors if ".attn1.to_" in name and name.endswith("weight")]
    for name in changed:
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    return changed


@pytest.mark.parametrize("name", FAMILIES)
def test_a_complete_pipeline_is_not_complained_of(name: str, built: Path) -> None:
    """Of no family, loaded or described; and each component that has weights was looked at."""
    import torch

    made = model(build(name, built))
    loaded = load(made)
    parts = [part for part, module in loaded.pipeline.components.items() if isinstance(module, torch.nn.Module)]
    for part in parts:
        assert not any(sentence.startswith(f"{part}: ") for sentence in loaded.notes), loaded.notes
        for tensor in loaded.pipeline.components[part].state_dict().values():
            assert not tensor.is_meta
    assert describe(made)["unusable"] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tensor_that_is_missing_ends_the_load_of_any_component(name: str, built: Path, tmp_path: Path) -> None:
    """Each component that has weights is named in its turn, with the tensor and the folder."""
    index = json.loads((build(name, built) / "model_index.json").read_text())
    for part in index:
        if not list((build(name, built) / part).glob("*.safetensors")):
            continue
        folder = Path(shutil.copytree(build(name, built), tmp_path / part))
        gone: list[str] = []
        rewrite(weights(folder, part), lambda tensors, gone=gone: gone.append(lose(tensors)))  # type: ignore[misc]
        with pytest.raises(NoPipelineError) as caught:
            load(model(folder))
        text = str(caught.value)
        assert text.startswith(f"{part}: ")
        assert "missing from" in text
        assert f"from {part}/{part}; " in text
        assert str(tmp_path) not in text
        assert ".".join(gone[0].split(".")[-2:]) in text  # the first names of some are others in the files
        shutil.rmtree(folder)


def lose(tensors: Tensors) -> str:
    """Takes the largest tensor away."""
    name = max(sorted(tensors), key=lambda each: tensors[each].numel())
    del tensors[name]
    return str(name)


def test_the_sentence_says_what_is_missing_and_what_to_do(wan: Path) -> None:
    """How many, up to three names, where, why it matters, and the remedy."""
    rewrite(weights(wan, "transformer"), lambda tensors: tensors.pop(LOST))
    with pytest.raises(NoPipelineError) as caught:
        load(model(wan))
    assert str(caught.value) == (
        f"transformer: 1 tensor ({LOST}) is missing from wan/transformer; its numbers would be drawn anew at each "
        "start. Download the model again, or take a repository that is complete."
    )
    rewrite(weights(wan, "transformer"), lambda tensors: [tensors.pop(name) for name in sorted(tensors)[:5]])
    with pytest.raises(NoPipelineError, match=r"transformer: 6 tensors \(([\w.]+, ){3}…\) are missing from"):
        load(model(wan))


async def test_the_check_of_a_worker_ends_with_the_same_sentence(wan: Path, tmp_path: Path) -> None:
    """`flock worker --check` and a worker's start load in the same child."""
    rewrite(weights(wan, "transformer"), lambda tensors: tensors.pop(LOST))
    child = RenderChild(model(wan))
    try:
        with pytest.raises(RenderError, match=rf"transformer: 1 tensor \({LOST}\) is missing") as caught:
            await child.warm()
    finally:
        await child.close()
    assert caught.value.kind == "load"


async def test_a_complete_model_gives_the_same_frames_in_two_processes(wan: Path, tmp_path: Path) -> None:
    """The same seed, prompt and revision: nothing is drawn but the noise."""
    frames = []
    for number in range(2):
        child = RenderChild(model(wan))
        paths = {"video_path": str(tmp_path / f"{number}.mp4"), "poster_path": str(tmp_path / f"{number}.jpg")}
        try:
            made = await child.render(RenderRequest("a red circle", 1, **paths))
        finally:
            await child.close()
        frames.append(made.provenance["frames_sha256"])
    assert frames[0] == frames[1]


def test_a_shard_that_lacks_what_its_index_names_ends_the_load(wan: Path) -> None:
    """diffusers believes the index, and leaves such a tensor without any numbers."""
    files = shard(wan)
    assert len(set(files.values())) > 1
    load(model(wan))
    rewrite(wan / "transformer" / files[LOST], lambda tensors: tensors.pop(LOST))
    with pytest.raises(NoPipelineError, match=rf"transformer: 1 tensor \({LOST}\) that its index names is in none"):
        load(model(wan))
    assert not describe(model(wan))["here"]


def test_shards_are_compared_with_the_class_as_one_file_is(wan: Path) -> None:
    """What neither index nor shards have is missing."""
    files = shard(wan)
    rewrite(wan / "transformer" / files[LOST], lambda tensors: tensors.pop(LOST))
    [index] = (wan / "transformer").glob("*.index.json")
    told = json.loads(index.read_text())
    del told["weight_map"][LOST]
    index.write_text(json.dumps(told))
    with pytest.raises(NoPipelineError, match=rf"transformer: 1 tensor \({LOST}\) is missing from"):
        load(model(wan))


def test_other_shapes_end_the_load_in_a_sentence(wan: Path) -> None:
    """Both shapes are told, of diffusers' classes and of transformers'."""
    text = Path(shutil.copytree(wan, wan.with_name("text")))
    rewrite(weights(wan, "transformer"), lambda tensors: tensors.update({LOST: tensors[LOST][:3].contiguous()}))
    with pytest.raises(NoPipelineError, match=rf"{LOST} is \(3, 24\), not \(24, 24\)\. Take files and config"):
        load(model(wan))
    name = "encoder.final_layer_norm.weight"
    rewrite(weights(text, "text_encoder"), lambda tensors: tensors.update({name: tensors[name][:3].contiguous()}))
    with pytest.raises(NoPipelineError, match=rf"text_encoder: 1 tensor \({name}\) in .* has another shape"):
        load(model(text))


def test_what_is_not_used_is_said_and_changes_nothing(wan: Path) -> None:
    """A tensor for which the class has no place is named; the model loads."""
    import torch

    spare = {f"head.{number}.weight": torch.ones(2) for number in range(4)}
    rewrite(weights(wan, "transformer"), lambda tensors: tensors.update(spare))
    assert (
        "transformer: 4 tensors (head.0.weight, head.1.weight, head.2.weight, …) are not used: WanTransformer3DModel "
        "has no place for them."
    ) in load(model(wan)).notes
    rewrite(weights(wan, "text_encoder"), lambda tensors: tensors.update({"lm_head.weight": torch.ones(2)}))
    assert (
        "text_encoder: 1 tensor (lm_head.weight) is not used: T5EncoderModel has no place for it."
        in load(model(wan)).notes
    )


@pytest.mark.parametrize("scale", ["scale_weight", "weight_scale", "scale_input", "input_scale", "weight_scale_inv"])
def test_scales_that_nobody_applies_end_the_load(wan: Path, scale: str) -> None:
    """With float8 weights or without: the file was made for a reader that multiplies by them."""
    import torch

    name = f"blocks.0.attn1.to_q.{scale}"
    rewrite(weights(wan, "transformer"), lambda tensors: tensors.update({name: torch.ones(1)}))
    with pytest.raises(NoPipelineError, match=rf"1 tensor \({name}\)\) that nothing here applies.*fp8-scaled files"):
        load(model(wan))
    assert "fp8-scaled" in describe(model(wan))["unusable"][0]


def test_float8_with_scales_is_refused_and_without_is_read(wan: Path) -> None:
    """Weights that were only cast are as good as they are coarse, which is said; scaled ones mean something else."""
    import torch

    changed: list[str] = []
    rewrite(weights(wan, "transformer"), lambda tensors: changed.extend(to_float8(tensors)))
    note = (
        f"transformer: {len(changed)} of its tensors are float8, without scales: as coarse as that, whatever its dtype."
    )
    loaded = load(model(wan))
    assert note in loaded.notes
    assert loaded.pipeline.transformer.dtype == torch.float32
    assert note in describe(model(wan))["notes"]
    owner = changed[0].removesuffix(".weight")
    rewrite(weights(wan, "transformer"), lambda tensors: tensors.update({f"{owner}.own_scale": torch.ones(1)}))
    with pytest.raises(NoPipelineError, match=rf"{owner}.own_scale.* that nothing here applies"):
        load(model(wan))


def test_a_text_encoder_needs_one_of_its_two_embeddings(wan: Path) -> None:
    """As they are published, under either name; without both its words would be drawn at random."""
    path = weights(wan, "text_encoder")
    under_one = load(model(wan)).pipeline.text_encoder.state_dict()["encoder.embed_tokens.weight"]
    rewrite(path, lambda tensors: tensors.update({"encoder.embed_tokens.weight": tensors.pop("shared.weight")}))
    under_other = load(model(wan)).pipeline.text_encoder.state_dict()["encoder.embed_tokens.weight"]
    assert under_one.equal(under_other)
    rewrite(path, lambda tensors: tensors.pop("encoder.embed_tokens.weight"))
    with pytest.raises(
        NoPipelineError, match=r"text_encoder: 2 tensors \(encoder.embed_tokens.weight, shared.weight\)"
    ):
        load(model(wan))


def test_a_table_that_a_class_computes_may_be_missing_and_a_placeholder_not(built: Path, tmp_path: Path) -> None:
    """Positions are the same each time; mean and deviation of latents are known from the file alone."""
    moving = Path(shutil.copytree(build("AnimateDiff", built), tmp_path / "moving"))

    def forget(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.endswith("pos_embed.pe")]:
            del tensors[name]

    rewrite(weights(moving, "unet"), forget)
    assert load(model(moving)).pipeline.unet is not None
    ltx = Path(shutil.copytree(build("LTX-Video", built), tmp_path / "ltx"))
    rewrite(weights(ltx, "vae"), lambda tensors: tensors.pop("latents_std"))
    with pytest.raises(NoPipelineError, match=r"vae: 1 tensor \(latents_std\) is missing"):
        load(model(ltx))


def test_names_of_older_versions_are_no_fault(built: Path, tmp_path: Path) -> None:
    """Attention of a decoder was once query, key, value and proj_attn: the library reads both, and so does this."""
    folder = Path(shutil.copytree(build("ModelScope", built), tmp_path / "old"))
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def age(tensors: Tensors) -> None:
        for name in [name for name in tensors if ".attentions.0.to_" in name]:
            old = name
            for now, then in new.items():
                old = old.replace(f".{now}.", f".{then}.")
            tensors[old] = tensors.pop(name)

    rewrite(weights(folder, "vae"), age)
    assert not any(sentence.startswith("vae") for sentence in load(model(folder)).notes)


def entry(source: Path, subfolder: str | None = None) -> dict[str, Any]:
    return {"source": str(source), "revision": None, "subfolder": subfolder}


def test_components_of_other_sources_are_compared_too(wan: Path, built: Path, tmp_path: Path) -> None:
    """Each of a source of its own; what is missing there is told of there."""
    other = Path(shutil.copytree(build("Wan", built), tmp_path / "other"))
    whole = {"transformer": entry(other, "transformer"), "vae": entry(other / "vae")}
    load(model(wan, components=whole))
    rewrite(weights(other, "transformer"), lambda tensors: tensors.pop(LOST))
    for place in (entry(other, "transformer"), entry(other / "transformer")):
        with pytest.raises(NoPipelineError, match=r"transformer: 1 tensor .* is missing from (other/)?transformer;"):
            load(model(wan, components={"transformer": place}))
    load(model(wan))  # its own is complete
    assert not describe(model(wan, components={"vae": entry(other / "nowhere")}))["unusable"]


def test_every_kind_of_component_can_come_from_elsewhere(wan: Path, built: Path) -> None:
    """Weights, tokenizers and schedulers, with a pipeline around them or alone."""
    other = build("Wan", built)
    for name in ("text_encoder", "transformer", "vae", "tokenizer", "scheduler"):
        for place in (entry(other, name), entry(other / name)):
            loaded = load(model(wan, components={name: place}))
            before = load(model(wan)).pipeline.components[name]
            assert type(loaded.pipeline.components[name]) is type(before)


def test_a_component_that_a_pipeline_lacks_ends_the_load(wan: Path, built: Path) -> None:
    """A slip of the pen would else be part of the revision, and of nothing that renders."""
    with pytest.raises(NoPipelineError, match=r"Model m: WanPipeline has no component 'vea'; it has .*vae"):
        load(model(wan, components={"vea": entry(build("Wan", built), "vae")}))


def test_a_source_that_holds_no_component_is_said(wan: Path, tmp_path: Path) -> None:
    """In a sentence that names it."""
    with pytest.raises(NoPipelineError, match=r"vae: empty holds no component: it has no config.json."):
        (tmp_path / "empty").mkdir()
        load(model(wan, components={"vae": entry(tmp_path / "empty")}))


def test_a_motion_adapter_that_lacks_a_tensor_is_noticed(built: Path, tmp_path: Path) -> None:
    """The pipeline of single pictures does not name it; it is compared all the same."""
    base = build("AnimateDiff", built)
    motion = unets.animatediff().motion_adapter
    motion.save_pretrained(tmp_path / "motion", safe_serialization=True)
    swapped = model(base, components={"motion_adapter": entry(tmp_path / "motion")})
    load(swapped)
    rewrite(weights(tmp_path, "motion"), lose)
    with pytest.raises(NoPipelineError, match=r"motion_adapter: 1 tensor .* is missing"):
        load(swapped)


def test_a_pipeline_that_diffusers_lacks_is_named(wan: Path) -> None:
    """Whatever stands in its index."""
    index = json.loads((wan / "model_index.json").read_text())
    for name in ("NoSuchPipeline", ["pipeline", "Own"], "WanTransformer3DModel"):
        (wan / "model_index.json").write_text(json.dumps({**index, "_class_name": name}))
        with pytest.raises(NoPipelineError, match="diffusers has no pipeline"):
            load(model(wan))


def test_a_dtype_of_a_component_that_is_not_there_is_said(wan: Path) -> None:
    """It has no effect; those that are there have theirs."""
    said = load(model(wan, dtype={"default": "float32", "vea": "bfloat16"})).notes
    assert "WanPipeline has no component 'vea': its dtype has no effect." in said
    assert not any("dtype has no effect" in sentence for sentence in load(model(wan, dtype={"vae": "float32"})).notes)


def test_the_families_hold_all_kinds_of_components() -> None:
    """Modules of diffusers' own pipelines, of transformers and of diffusers: the tests above saw them all."""
    assert {"connectors", "vocoder"} <= set(others.ltx2().components)
