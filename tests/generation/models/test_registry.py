"""Which models there are, and how they render."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from generation.models.presets import Preset, family_of, known_families, preset_for
from generation.models.registry import (
    Model,
    ModelError,
    choose,
    folder_revision,
    full_revision,
    known_revision,
    load_models,
)

ADAPTER = '[[models.wan.adapters]]\nsource = "a/b"\n'
COMMIT = "38ec498fcb3208fb688890f8cc7e94ede2cbd7f6"


def models_from(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return dict(load_models(tmp_path, path))


def test_without_a_file_there_is_the_embedded_model(tmp_path: Path) -> None:
    """The tiny model needs no configuration; any other name is answered with those that there are."""
    models = load_models(tmp_path, None)
    assert choose(models, "tiny").source == str(tmp_path / "models" / "tiny")
    with pytest.raises(ModelError, match="no model 'wan'; there are tiny"):
        choose(models, "wan")


def test_a_file_adds_models(tmp_path: Path) -> None:
    """A repository with its revision, a folder, and the embedded model in other looks stand beside the tiny one."""
    text = (
        f'[models.wan14b]\nsource = "Wan-AI/Wan2.1-T2V-14B-Diffusers"\nrevision = "{COMMIT}"\ndtype = "bfloat16"\n'
        f'steps = 30\noffload = "model"\n[models.mine]\nsource = "{tmp_path}"\n'
        '[models.small]\nsource = "tiny"\nsteps = 3\n'
    )
    path = tmp_path / "models.toml"
    path.write_text(text)
    models = load_models(tmp_path, path)
    assert sorted(models) == ["mine", "small", "tiny", "wan14b"]
    assert known_revision(models["wan14b"]) == COMMIT
    assert models["wan14b"].overrides == {"steps": 30}
    assert models["small"].overrides == {**models["tiny"].overrides, "steps": 3}
    assert models["small"].source == models["tiny"].source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models = 3", r"needs a table \[models.ID\]"),
        ("[models", "cannot be read"),
        ('[models."Wan 14"]\nsource = "a/b"', "short lowercase word"),
        ("[models.wan]", "needs a source"),
        ('[models.wan]\nsource = "a/b"', "needs a revision"),
        ('[models.wan]\nsource = "a/b"\nrevision = 3', "is not text"),
        ('[models.wan]\nsource = "a/b"\nrevision = ""', "or is empty"),
        ('[models.wan]\nsource = "a/b"\nrevision = " "', "or is empty"),
        (f'[models.wan]\nsource = "{"x" * 300}"', "needs a revision"),
        (f"a = {'[' * 3000}{']' * 3000}", "cannot be read"),
        ('[models.wan]\nsource = "a/b"\nrevision = "main"', "revision = 'main' is no commit. A branch or a tag can be"),
        ('[models.wan]\nsource = "a/b"\nrevision = "v1.0"', "40 hex digits"),
        ('[models.wan]\nsource = "../b/c"\nrevision = "main"', "neither a folder on this machine nor a repository id"),
        ('[models.wan]\nsource = "tiny"\nsize = 3', "unknown setting 'size'"),
        ('[models.wan]\nsource = "tiny"\nframe_step = 3', "unknown setting 'frame_step'"),
        ('[models.wan]\nsource = "tiny"\ndtype = {vae = "int8"}', "dtype.vae = 'int8'; use one of"),
        ('[models.wan]\nsource = "tiny"\nquantise = "int1"', "quantise = 'int1'; use one of torchao-int8"),
        ('[models.wan]\nsource = "tiny"\ncache = "all"', "cache = 'all'; use one of first_block"),
        ('[models.wan]\nsource = "tiny"\ncache_threshold = 2', "not a number above 0, at most 1"),
        ('[models.wan]\nsource = "tiny"\ncompile = 1', "compile = 1 is not true or false"),
        ('[models.wan]\nsource = "tiny"\ncontext_parallel = 0', "not a number of GPUs"),
        (
            '[models.wan]\nsource = "tiny"\ncontext_parallel = 2',
            "a worker renders on one GPU. .* run a worker on each GPU",
        ),
        ('[models.wan]\nsource = "tiny"\nattention = "flash_hub"', "would fetch code"),
        ('[models.wan]\nsource = "tiny"\nattention = "a b"', "is not a name"),
        ('[models.wan]\nsource = "tiny"\nshift = "3"', "shift = '3' is not a number from 0 to 100"),
        ('[models.wan]\nsource = "tiny"\nshift = nan', "is not a number from 0 to 100"),
        ('[models.wan]\nsource = "tiny"\nvae_tiling = 1', "vae_tiling = 1 is not true or false"),
        ('[models.wan]\nsource = "tiny"\narguments = 1', "arguments = 1 is not a table"),
        ('[models.wan]\nsource = "tiny"\nadapters = 1', "adapters is a list of tables"),
        (
            '[models.wan]\nsource = "tiny"\n[[models.wan.adapters]]\nsource = "a/b"',
            "weight_name = None is not the name",
        ),
        (f'[models.wan]\nsource = "tiny"\n{ADAPTER}revision = "main"\nweight_name = "a.safetensors"', "is no commit"),
        (f'[models.wan]\nsource = "tiny"\n{ADAPTER}weight_name = "a.bin"', "others may hold code"),
        (f'[models.wan]\nsource = "tiny"\n{ADAPTER}weight_name = "../a.safetensors"', "others may hold code"),
        (f'[models.wan]\nsource = "tiny"\n{ADAPTER}weight_name = "a.safetensors"\nscale = 11', "from -10 to 10"),
        (f'[models.wan]\nsource = "tiny"\n{ADAPTER}weight_name = "a.safetensors"\nsize = 1', "unknown setting 'size'"),
        ('[models.wan]\nsource = "tiny"\ncomponents = {vae = 1}', "it = 1 is not a table"),
        ('[models.wan]\nsource = "tiny"\ncomponents = {vae = {source = "a/b"}}', "component vae needs a revision"),
        ('families = 1\n[models.wan]\nsource = "tiny"', r"families are tables \[families.CLASS\]"),
        ('[models.wan]\nsource = "tiny"\n[families.New]\nsizes = 3', "New has an unknown setting 'sizes'"),
        (
            '[models.wan]\nsource = "tiny"\n[families.New]\nframe_step = 0',
            "frame_step = 0 is not a whole number from 1",
        ),
        ('[models.wan]\nsource = "tiny"\n[families.New]\ncaches = ["all"]', "is not a list of first_block"),
        ('[models.wan]\nsource = "tiny"\n[[families.New.variants]]\nfps = 8', "with a table `when` of its own"),
        (
            '[models.wan]\nsource = "tiny"\n[families.New]\nrepositories = [{name = "a"}]',
            "list of tables with id, license",
        ),
        ('[models.wan]\nsource = "tiny"\ndtype = "int8"', "use one of float32"),
        ('[models.wan]\nsource = "tiny"\noffload = "disk"', "use one of none"),
        ('[models.wan]\nsource = "tiny"\nsteps = 0', "whole number from 1"),
        ('[models.wan]\nsource = "tiny"\nsteps = true', "whole number from 1"),
        ('[models.wan]\nsource = "tiny"\nframes = 5.5', "whole number from 1"),
        ('[models.wan]\nsource = "tiny"\nguidance = -1', "from 0 to 100"),
        ('[models.wan]\nsource = "tiny"\nnegative_prompt = 3', "is not text"),
    ],
)
def test_a_wrong_file_is_answered_with_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    """Whatever is wrong is named, before anything is loaded."""
    with pytest.raises(ModelError, match=said):
        models_from(tmp_path, text)


def test_a_missing_file_is_answered_with_a_sentence(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ModelError, match=r"nowhere.toml cannot be read"):
        load_models(tmp_path, tmp_path / "nowhere.toml")


def test_wrong_sizes_become_right_and_are_said() -> None:
    """Wan renders 4k+1 frames in multiples of 16 pixels; each value that was changed is named, the others are not."""
    fitted, said = Preset("Wan", 830, 480, 80, 16, 50, 5.0, frame_step=4).fitted()
    assert (fitted.width, fitted.height, fitted.frames) == (832, 480, 81)
    assert said == ["Wan renders 4k+1 frames: 80 became 81.", "Wan wants a width in steps of 16: 830 became 832."]
    assert preset_for("WanPipeline").fitted() == (preset_for("WanPipeline"), [])
    assert preset_for("SomethingNew").fitted()[1] == []


@given(
    family=st.sampled_from(sorted(known_families())),
    frames=st.integers(1, 1025),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    strides=st.tuples(st.sampled_from([1, 2, 4, 6, 8]), st.sampled_from([1, 8, 16, 32])),
)
@example(family="LattePipeline", frames=1, width=1, height=1, strides=(6, 1))  # 16 frames at most, in steps of 48
def test_whatever_is_asked_for_becomes_legal(
    family: str, frames: int, width: int, height: int, strides: tuple[int, int]
) -> None:
    """Every count and size is rounded to one that the family renders, and said exactly when it was changed."""
    asked = replace(preset_for(family), frames=frames, width=width, height=height)
    fitted, said = asked.fitted(strides)
    assert (fitted.frames - asked.frame_offset) % asked.frame_step == 0
    assert fitted.width % asked.size_step == fitted.height % asked.size_step == 0
    assert fitted.width % strides[1] == fitted.height % strides[1] == 0
    assert fitted.frames >= (asked.least_frames or 1)
    assert fitted.width >= (asked.least_width or 1)
    changed = [name for name in ("frames", "width", "height") if getattr(fitted, name) != getattr(asked, name)]
    assert len(said) == len(changed)
    assert fitted.fitted(strides) == (fitted, [])


def test_a_variant_is_known_by_its_configs() -> None:
    """Two denoisers make it Wan 2.2, a word in a component's config CogVideoX 1.5; what is absent or null does not."""
    wan = family_of("WanPipeline")
    both = {"": {"boundary_ratio": 0.9, "transformer_2": ["diffusers", "WanTransformer3DModel"]}}
    one = {"": {"boundary_ratio": None, "transformer_2": [None, None]}, "transformer": {"text_dim": 64}}
    assert (wan.preset_of(both).family, wan.preset_of(both).arguments) == ("Wan 2.2", {"guidance_scale_2": 3.0})
    assert wan.preset_of(one) == wan.preset_of({}) == wan.preset
    released = wan.preset_of({"transformer": {"text_dim": 4096}})
    assert (released.family, bool(released.negative_prompt)) == ("Wan", True)
    cog = family_of("CogVideoXPipeline")
    assert cog.preset_of({"transformer": {"patch_size_t": 2}}).family == "CogVideoX 1.5"
    assert cog.preset_of({"transformer": {"patch_size_t": None}}).family == "CogVideoX"


def test_everything_about_a_model_can_be_configured(tmp_path: Path) -> None:
    """Adapters, components, memory, acceleration and a family of one's own arrive as they were written."""
    text = f"""
        [families.NewPipeline]
        family = "New"
        frame_step = 3

        [models.new]
        source = "some/model"
        revision = "{COMMIT}"
        dtype = {{ default = "bfloat16", vae = "float32" }}
        offload = "group"
        vae_tiling = true
        quantise = "bitsandbytes-nf4"
        quantise_components = ["transformer"]
        compile = true
        cache = "first_block"
        cache_threshold = 0.1
        attention = "flash"
        shift = 5
        scheduler_options = {{ use_flow_sigmas = true }}
        arguments = {{ guidance_scale_2 = 3.0 }}
        license = "Apache-2.0"
        gated = true

        [[models.new.adapters]]
        source = "some/adapter"
        revision = "{COMMIT}"
        weight_name = "few.safetensors"
        scale = 0.5

        [models.new.components.vae]
        source = "some/vae"
        revision = "{COMMIT}"
    """
    path = tmp_path / "models.toml"
    path.write_text(text)
    model = load_models(tmp_path, path)["new"]
    assert Model.from_json(json.loads(json.dumps(asdict(model)))) == model
    assert (model.dtype_of("vae"), model.dtype_of("transformer")) == ("float32", "bfloat16")
    assert model.adapters == [
        {"source": "some/adapter", "revision": COMMIT, "weight_name": "few.safetensors", "scale": 0.5}
    ]
    assert model.components == {"vae": {"source": "some/vae", "revision": COMMIT, "subfolder": None}}
    assert set(model.overrides) == {"vae_tiling", "shift", "scheduler_options", "arguments"}
    assert model.family("NewPipeline").preset.frame_step == 3
    assert model.family("WanPipeline").preset.family == "Wan"
    assert not model.is_local
    revision = known_revision(model)
    assert revision is not None
    assert revision.startswith(f"{COMMIT}+")
    assert full_revision(model) == revision


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


def test_the_tiny_pipeline_is_the_same_wherever_it_is_made(tiny_revision: tuple[Path, str], tmp_path: Path) -> None:
    """A second making has the same revision; it is that of its files; to repeat it in place changes nothing."""
    folder, revision = tiny_revision
    assert folder_revision(folder) == revision
    command = [sys.executable, "-m", "generation.tiny"]
    other = subprocess.run([*command, str(tmp_path / "other")], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == revision
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == revision
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    """The command refuses with a sentence, and nothing is lost."""
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    made = subprocess.run(
        [sys.executable, "-m", "generation.tiny", str(tmp_path / "letters")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 1
    assert "holds no tiny pipeline" in made.stderr
    assert (tmp_path / "letters" / "a.txt").read_text() == "dear"
