"""From the configuration to the pipeline: adapters, components, dtypes, schedules, memory; and what cannot be met."""

from __future__ import annotations

import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from generation.models import presets
from generation.models.known_words import FILE, PromptReader
from generation.models.registry import Model, known_revision
from generation.render.acceleration import context_parallel
from generation.render.child import Renderer
from generation.render.loading import load
from generation.render.memory import NoPipelineError, group_offload
from generation.render_messages import RenderRequest
from generation.tiny.make import WEIGHTS
from generation.tiny.training.known_words import write_known_words
from generation.worker.render_process import RenderChild, RenderError
from tests.generation.families import text, unets
from tests.generation.families.built import build

# What torch, diffusers and transformers warn of is theirs; the child that renders writes it to the log.
pytestmark = pytest.mark.filterwarnings("ignore")

COMMIT = "38ec498fcb3208fb688890f8cc7e94ede2cbd7f6"
LOOKS = {"width": 64, "height": 64, "frames": 9, "steps": 2, "upscale": 2}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loading")


@pytest.fixture(scope="session")
def wan(folder: Path) -> Path:
    return build("Wan", folder)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The embedded pipeline in a folder of its own, without its list of known words."""
    shutil.copytree(WEIGHTS, tmp_path / "tiny")
    (tmp_path / "tiny" / FILE).unlink(missing_ok=True)
    return tmp_path / "tiny"


def words_told(made: Model, prompt: str) -> list[dict[str, Any] | None]:
    """What a render process tells of the prompt's words, tick by tick."""
    out = io.StringIO()
    renderer = Renderer(out)
    renderer.load(made, 0)
    renderer.denoise(RenderRequest(prompt, 1, "a.mp4", "a.jpg"), 1)
    ticks = [json.loads(line) for line in out.getvalue().splitlines()]
    return [tick["words"] for tick in ticks if tick["kind"] == "tick" and tick["phase"] == "denoising"]


def model(source: Path, **settings: Any) -> Model:
    overrides = {**LOOKS, **settings.pop("overrides", {})}
    return Model("m", str(source), revision=settings.pop("revision", "r"), overrides=overrides, **settings)


def rendered(made: Model, at: Path) -> str:
    """The hash of the frames that such a model renders."""
    renderer = Renderer(io.StringIO())
    renderer.load(made, 0)
    request = RenderRequest("a red circle", 1, str(at / "a.mp4"), str(at / "a.jpg"))
    return str(renderer.denoise(request, 1)().provenance["frames_sha256"])


@pytest.fixture(scope="session")
def adapter(wan: Path, folder: Path) -> Path:
    """An adapter for Wan's transformer, with weights that matter."""
    import torch
    from diffusers import WanPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    pipeline = WanPipeline.from_pretrained(wan)
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v"])
    pipeline.transformer.add_adapter(config)
    layers = get_peft_model_state_dict(pipeline.transformer)
    WanPipeline.save_lora_weights(folder / "adapter", transformer_lora_layers=layers)
    return folder / "adapter"


def test_known_words_are_told_with_the_first_step(tiny: Path) -> None:
    """Their places are the prompt's own, spaces and characters that no tokenizer reads included."""
    write_known_words(tiny)
    made = model(tiny)
    first, *later = words_told(made, " \x00a RED ball surfing \ud83d")
    assert first is not None
    assert (first["known"], first["unknown"]) == ([[4, 7], [8, 12]], [[13, 20]])
    assert "red ball" in first["example"]
    assert later
    assert later == [None] * len(later)


def test_without_the_file_nothing_is_told(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor with one that is no use, which the operator reads of, nor where the tokenizer fails: the render goes on."""
    assert set(words_told(model(tiny), "a red ball")) == {None}
    (tiny / FILE).write_text('{"version": 9, "words": {"red": "colour"}}')
    assert any(FILE in note for note in load(model(tiny)).notes)
    assert set(words_told(model(tiny), "a red ball")) == {None}
    write_known_words(tiny)
    assert not any(FILE in note for note in load(model(tiny)).notes)

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(PromptReader, "read", fail)
    assert set(words_told(model(tiny), "a red ball")) == {None}


def test_adapters_change_the_pictures_by_their_scale(wan: Path, adapter: Path, tmp_path: Path) -> None:
    """With scale 0 it is the model alone; each scale is a revision of its own, and so is each file."""
    entry = {"source": str(adapter), "revision": None, "weight_name": "pytorch_lora_weights.safetensors"}
    bare, whole, nothing = (
        model(wan, adapters=[{**entry, "scale": scale}] if scale is not None else []) for scale in (None, 1.0, 0.0)
    )
    assert rendered(bare, tmp_path) == rendered(nothing, tmp_path) != rendered(whole, tmp_path)
    revisions = {load(each).revision for each in (bare, whole, nothing)}
    assert len(revisions) == 3
    assert all(revision == "r" or revision.startswith("r+") for revision in revisions)
    assert known_revision(bare) == "r"
    assert known_revision(whole) is None


def test_an_adapter_that_a_pipeline_cannot_take_is_said(folder: Path, tmp_path: Path) -> None:
    """The operator reads which pipeline it is."""
    entry = {"source": str(tmp_path), "revision": None, "weight_name": "a.safetensors", "scale": 1.0}
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(NoPipelineError, match="AllegroPipeline takes no adapters"):
        load(model(build("Allegro", folder), adapters=[entry]))


def test_a_component_of_another_source_completes_a_pipeline(folder: Path, tmp_path: Path) -> None:
    """A model of single pictures and a motion adapter, each from its own folder, are AnimateDiff."""
    from diffusers import StableDiffusionPipeline

    whole = unets.animatediff()
    base = StableDiffusionPipeline(
        vae=whole.vae.eval(),
        text_encoder=whole.text_encoder.eval(),
        tokenizer=text.tokenizer(77),
        unet=unets.still_unet(),
        scheduler=whole.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    base.save_pretrained(folder / "still", safe_serialization=True)
    whole.motion_adapter.save_pretrained(folder / "motion", safe_serialization=True)
    parts = {"motion_adapter": {"source": str(folder / "motion"), "revision": None, "subfolder": None}}
    made = model(folder / "still", pipeline="AnimateDiffPipeline", components=parts)
    loaded = load(made)
    assert loaded.preset.family == "AnimateDiff"
    assert loaded.revision.startswith("r+")
    assert rendered(made, tmp_path)
    with pytest.raises(NoPipelineError, match="diffusers has no pipeline 'MotionPipeline'"):
        load(model(folder / "still", pipeline="MotionPipeline"))


def test_a_gpu_gets_the_dtype_that_the_family_recommends(wan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder stays exact. What was chosen is said, and is what the worker tells of itself."""
    import torch

    on_cpu = load(model(wan))
    assert (on_cpu.model.dtype, on_cpu.model.offload, on_cpu.pipeline.transformer.dtype) == (
        "float32",
        "none",
        torch.float32,
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 << 33, 1 << 34))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr("generation.render.loading.place", lambda *_: ("a GPU", []))  # there is none to put it on
    on_gpu = load(model(wan))
    assert (on_gpu.model.dtype, on_gpu.model.offload) == ("bfloat16", "none")
    assert (on_gpu.pipeline.transformer.dtype, on_gpu.pipeline.vae.dtype) == (torch.bfloat16, torch.float32)
    assert any(sentence.startswith('dtype = "bfloat16", as Wan wants it') for sentence in on_gpu.notes)
    assert Renderer(io.StringIO()).load(model(wan), 0).settings.dtype == "bfloat16"


def test_each_component_has_its_dtype(wan: Path) -> None:
    """One word serves all, but for a decoder whose family wants it exact; a table says it for each."""
    import torch

    halved = load(model(wan, dtype="bfloat16")).pipeline
    assert (halved.transformer.dtype, halved.vae.dtype) == (torch.bfloat16, torch.float32)
    told = load(model(wan, dtype={"default": "float32", "transformer": "bfloat16", "vae": "bfloat16"})).pipeline
    dtypes = (told.transformer.dtype, told.vae.dtype, told.text_encoder.dtype)
    assert dtypes == (torch.bfloat16, torch.bfloat16, torch.float32)


def test_the_schedule_of_noise_can_be_changed(wan: Path, folder: Path) -> None:
    """Shift and scheduler are those of the model unless told otherwise; a shift that there is not is said."""
    assert load(model(wan)).pipeline.scheduler.config.shift == 3.0
    assert load(model(wan, overrides={"shift": 7.0})).pipeline.scheduler.config.shift == 7.0
    options = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    other = {"scheduler": "UniPCMultistepScheduler", "shift": 5.0, "scheduler_options": options}
    scheduler = load(model(wan, overrides=other)).pipeline.scheduler
    assert (type(scheduler).__name__, scheduler.config.flow_shift) == ("UniPCMultistepScheduler", 5.0)
    still = load(model(build("Latte", folder), overrides={"shift": 7.0}))
    assert "DDIMScheduler has no setting shift: it has no effect." in still.notes
    with pytest.raises(NoPipelineError, match="no scheduler 'Sundial'"):
        load(model(wan, overrides={"scheduler": "Sundial"}))


def test_offloading_group_by_group_changes_no_picture(wan: Path, tmp_path: Path) -> None:
    """Only where the weights lie is another; here from the CPU to the CPU."""
    import torch

    renderer = Renderer(io.StringIO())
    renderer.load(model(wan), 0)
    group_offload(renderer._warm.pipeline, torch.device("cpu"))  # type: ignore[union-attr]
    request = RenderRequest("a red circle", 1, str(tmp_path / "b.mp4"), str(tmp_path / "b.jpg"))
    grouped = renderer.denoise(request, 1)().provenance["frames_sha256"]
    assert grouped == rendered(model(wan), tmp_path)


def test_decoding_in_tiles_is_switched_on_where_it_is_there(wan: Path) -> None:
    """By the preset or the model; without it the decoder decodes as it is."""
    assert load(model(wan, overrides={"vae_tiling": True})).pipeline.vae.use_tiling
    assert not load(model(wan)).pipeline.vae.use_tiling


@pytest.mark.skipif(find_spec("torchao") is not None, reason="torchao is installed here")
def test_a_way_to_quantise_that_is_not_installed_is_said(wan: Path) -> None:
    """With the command that installs it."""
    with pytest.raises(
        NoPipelineError, match=r"quantised by torchao, which is not installed. Run: pip install torchao"
    ):
        load(model(wan, quantise="torchao-int8"))


def test_sharing_attention_is_configured_for_as_many_gpus() -> None:
    """Ulysses over all of them; diffusers itself refuses a single one."""
    assert context_parallel(4).mesh_shape == (1, 4)
    with pytest.raises(ValueError, match="greater than 1"):
        context_parallel(1)


async def test_a_repository_is_loaded_at_its_commit_from_the_hubs_cache(
    wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it lies there after a download; another commit of it is not taken for it, and without a network not found."""
    hub = tmp_path / "hub"
    repository = hub / "models--some--wan"
    shutil.copytree(wan, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    child = RenderChild(Model("m", "some/wan", revision=COMMIT, overrides=LOOKS))
    job = RenderRequest("a red circle", 1, str(tmp_path / "a.mp4"), str(tmp_path / "a.jpg"))
    try:
        loaded = await child.warm()
        assert (loaded.revision, loaded.preset.family) == (COMMIT, "Wan")
        assert (await child.render(job)).model_revision == COMMIT
    finally:
        await child.close()
    other = RenderChild(Model("m", "some/wan", revision=COMMIT[::-1]))
    try:
        with pytest.raises(RenderError) as caught:
            await other.warm()
    finally:
        await other.close()
    assert caught.value.kind == "load"


def test_wishes_without_effect_are_said(wan: Path, folder: Path) -> None:
    """Offloading without a GPU, and an attention that is not installed: the model is loaded all the same."""
    said = load(model(wan, offload="group", attention="flash")).notes
    assert any("There is no GPU here: offload = 'group' has no effect." in sentence for sentence in said)
    assert any(sentence.startswith("attention = 'flash' has no effect here: ") for sentence in said)


def test_an_unknown_pipeline_renders_by_generic_rules(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its components say of themselves is kept to, under whatever names its call has for things."""
    monkeypatch.setattr(presets, "known_families", dict)
    for name in ("LTX-Video", "AnyFlow", "HunyuanVideo 1.5"):
        unknown = model(build(name, folder), overrides={"width": 70, "frames": 12})
        loaded = load(unknown)
        assert (loaded.preset.family, loaded.preset.width, loaded.preset.frames) == ("generic", 64, 9)
        assert rendered(unknown, tmp_path)


def test_the_operator_may_add_a_family_without_code(wan: Path) -> None:
    """A table of the models file comes before that of FLock."""
    families = {"WanPipeline": {"family": "Our Wan", "frame_step": 8, "size_step": 64, "fps": 12}}
    loaded = load(model(wan, families=families, overrides={"width": 70, "frames": 12}))
    assert (loaded.preset.family, loaded.preset.fps) == ("Our Wan", 12)
    assert loaded.notes[:2] == [
        "Our Wan renders 8k+1 frames: 12 became 9.",
        "Our Wan wants a width in steps of 64: 70 became 64.",
    ]


def test_a_family_whose_package_is_missing_is_said(wan: Path) -> None:
    """Before anything is loaded, with the command that installs it."""
    families = {"WanPipeline": {"family": "Our Wan", "needs": ["no_such_package"]}}
    with pytest.raises(NoPipelineError, match=r"Our Wan needs the package no_such_package. Run: pip install"):
        load(model(wan, families=families))
