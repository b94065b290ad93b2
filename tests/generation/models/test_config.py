"""The models file: whatever is wrong in it is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.models.registry import ModelError, load_models

ADAPTER = '[[models.wan.adapters]]\nsource = "a/b"\n'


def models_from(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return dict(load_models(tmp_path, path))


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


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("3", r"it = 3 is not a table \[classifier\]"),
        ('{source = "a/b"}', "labels = None is not a table"),
        ('{source = "a/b", labels = {}}', "needs labels"),
        ('{source = "a/b", labels = {nsfw = 2}}', "labels.nsfw = 2 is not a score"),
        ('{source = "a/b", labels = {nsfw = true}}', "labels.nsfw = True is not a score"),
        ('{source = "a/b", labels = {nsfw = 0.5}, frames = 0}', "frames = 0 is not a number from 1"),
        ('{source = "a/b", labels = {nsfw = 0.5}, device = "tpu"}', "use cpu, cuda or cuda:N"),
        ('{source = "a/b", labels = {nsfw = 0.5}}', "needs a revision"),
        ('{source = "a/b", labels = {nsfw = 0.5}, size = 1}', "unknown setting 'size'"),
    ],
)
def test_a_wrong_classifier_is_answered_with_a_sentence(tmp_path: Path, table: str, said: str) -> None:
    """The worker does not start with a classifier that would flag nothing, or something else."""
    with pytest.raises(ModelError, match=said):
        models_from(tmp_path, f"classifier = {table}")


def test_a_classifier_looks_at_the_videos_of_every_model(tmp_path: Path) -> None:
    """What it leaves open is filled in; its folder needs no revision."""
    path = tmp_path / "models.toml"
    path.write_text(f'classifier = {{source = "{tmp_path}", labels = {{nsfw = 1}}}}\n')
    assert load_models(tmp_path, path)["tiny"].classifier == {
        "source": str(tmp_path), "revision": None, "labels": {"nsfw": 1.0}, "frames": 8, "device": "cpu",
    }  # fmt: skip
