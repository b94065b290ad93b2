"""`flock retrain`: a release comes out again from its data, recipe and seed; what is not its own is refused before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bot.__main__ import build_parser
from bot.cli.learning import retrain
from bot.domain.errors import OperatorError
from bot.settings import Settings
from generation.adapters.file import adapter_path
from generation.feedback.dataset.files import rows_of, write
from generation.feedback.dataset.tables import tables_of
from generation.feedback.manifest import Manifest
from generation.feedback.tuning.examples import Example, read_examples, read_latents
from generation.feedback.tuning.order import Order
from generation.feedback.tuning.recipe import Recipe
from generation.models.revisions import folder_revision
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.votes import MEMBERS, community, video, vote
from tests.generation.families.built import build

ROOT = Path(__file__).parents[4]
RECIPE = Recipe(steps=3, batch=2, warm_up=1, rank=2, save_every=2, seed=7)
PROMPTS = ("a red circle", "a green cat asleep", "snow over a town", "two boats at sea", "rain", "an old clock")


def dataset(folder: Path, first: str = "up") -> str:
    """Votes of four members on twelve videos; returns the root. `first` is one member's vote on the first video."""
    names = [f"v{k}" for k in range(12)]
    videos = [video(n, PROMPTS[k // 2], seed=k, model_id="m", model_revision="r1") for k, n in enumerate(names)]
    votes = [
        vote(name, member, first if (k, m) == (0, 0) else ("up", "down")[(k + m) % 2])
        for k, name in enumerate(names)
        for m, member in enumerate(MEMBERS)
    ]
    return write(folder, tables_of(community(videos, votes), b"k" * 32)).root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("Wan", tmp_path_factory.mktemp("weights"))


@pytest.fixture
def place(tmp_path: Path, weights: Path) -> Path:
    """A folder with a data set, a models file, and the manifest of a release that nobody has trained yet."""
    (tmp_path / "models.toml").write_text(
        f'[models.m]\nsource = "{weights}"\nwidth = 32\nheight = 32\nframes = 9\nsteps = 3\ndtype = "float32"\n'
    )
    write_manifest(tmp_path, dataset=dataset(tmp_path / "votes"), base_model=f"m@{folder_revision(weights)}")
    return tmp_path


def write_manifest(place: Path, **changes: object) -> Manifest:
    path = place / "RELEASE.json"
    if path.exists():
        manifest = replace(retrain.manifest_of(path), **changes)  # type: ignore[arg-type]  # each test knows its fields
    else:
        values = {"adapter": "ad" * 32, "dataset_number": 1, "registration": "ee" * 32, "round_key": "cc" * 32}
        manifest = Manifest(**{**values, "round_number": 1, "recipe": asdict(RECIPE), **changes})  # type: ignore[arg-type]  # as above
    path.write_bytes(manifest.canonical_bytes())
    return manifest


def settings(place: Path) -> Settings:
    return Settings(_env_file=None, data_dir=place / "state", models_file=place / "models.toml")


def arguments(place: Path, *more: str) -> Namespace:
    names = [str(place / "RELEASE.json"), "--data", str(place / "votes"), "--out", str(place / "out")]
    return build_parser().parse_args(["retrain", *names, *more])


def order(place: Path, *more: str) -> Order:
    return retrain.order_of(settings(place), retrain.manifest_of(place / "RELEASE.json"), arguments(place, *more))


def flock_retrain(place: Path, out: str, *more: str) -> subprocess.CompletedProcess[str]:
    """The command as an operator runs it, in a process of its own."""
    names = [str(place / "RELEASE.json"), "--data", str(place / "votes"), "--out", str(place / out)]
    return subprocess.run(
        [sys.executable, "-m", "bot", "retrain", *names, *more],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("FLOCK_")},
            "FLOCK_DATA_DIR": str(place / "state"),
            "FLOCK_MODELS_FILE": str(place / "models.toml"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        },
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.usefixtures("in_a_long_run")
def test_two_processes_make_the_same_adapter_and_another_recipe_another_one(place: Path) -> None:
    """The first one's hash stands in the manifest then; the second exits with 0, one of another seed with 1."""
    first = flock_retrain(place, "first")
    assert first.returncode == 1, first.stderr  # nobody had trained it yet: the manifest's hash is made up
    assert "The adapter is not the same." in first.stdout
    assert "By how much they differ cannot be told" in first.stdout
    result = json.loads((place / "first" / "result.json").read_text())
    write_manifest(place, adapter=result["sha256"])
    examples = read_examples(place / "first" / "lesson")
    assert [each.video for each in examples] == sorted(str(row["video"]) for row in rows_of(place / "votes", "videos"))
    for example in examples:
        assert example.latents_sha256 is not None
        assert read_latents(place / "first" / "lesson", example) is not None

    second = flock_retrain(place, "second")
    assert second.returncode == 0, second.stderr
    assert "The adapter is the same, bit by bit." in second.stdout
    assert f"  here         {result['sha256']}\n" in second.stdout

    write_manifest(place, recipe={**asdict(RECIPE), "seed": 8})
    other = flock_retrain(place, "third", "--adapter", result["adapter"])
    assert other.returncode == 1, other.stderr
    assert "of the released adapter's length" in other.stdout
    assert "rounds otherwise" in other.stdout


def test_the_order_is_what_the_manifest_says(place: Path) -> None:
    """Recipe, seed and model are the manifest's; a half-done training of the same order may go on."""
    made = order(place)
    assert (made.recipe, made.model.id, made.live) == (RECIPE, "m", None)
    made.write()
    assert order(place) == made
    write_manifest(place, recipe={**asdict(RECIPE), "steps": 4})
    with pytest.raises(OperatorError, match="holds another training"):
        order(place)


def test_a_changed_vote_is_refused_before_training(place: Path) -> None:
    """The data set is whole, but its root is another one."""
    root = dataset(place / "votes", first="down")
    with pytest.raises(OperatorError, match=rf"not the data set of this release: its root is {root}.*Nothing was"):
        order(place)
    assert not (place / "out").exists()


def test_videos_of_a_release_need_its_adapter(tmp_path: Path) -> None:
    """It is taken from the data folder, if it is there and whole."""
    _, sha256 = write_adapter(tmp_path, adapter_bytes())
    examples = [
        Example("v1", "a cat", 1, 2, 1),
        Example("v2", "a cat", 2, 2, 1, release=sha256, release_number=3),
        Example("v3", "a cat", 3, 2, 1, release="ad" * 32, release_number=4),
    ]
    assert {(each.number, each.adapter_sha256) for each in retrain.releases_of(examples, tmp_path).values()} == {
        (3, sha256)
    }
    adapter_path(tmp_path, sha256).write_bytes(b"no adapter")
    assert retrain.releases_of(examples, tmp_path) == {}


def _flip(place: Path) -> None:
    path = place / "votes" / "videos" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def _other_weights(place: Path) -> None:
    write_manifest(place, base_model="m@r2")


def _other_recipe(place: Path) -> None:
    write_manifest(place, recipe={**asdict(RECIPE), "charm": 3})


def _continued(place: Path) -> None:
    write_manifest(place, parent="aa" * 32)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_flip, "was changed: its hash is not the manifest's"),
        (_other_weights, "base model is m at the revision r2"),
        (_other_recipe, "no 'charm'"),
        (_continued, "--parent RELEASE.json"),
    ],
)
def test_what_cannot_be_repeated_is_a_sentence(change: Callable[[Path], None], says: str, place: Path) -> None:
    """Nothing is trained for it."""
    change(place)
    with pytest.raises(OperatorError, match=says):
        order(place)


def test_a_release_goes_on_from_the_one_before_it(place: Path) -> None:
    """Its parent's adapter lies in the data folder, or is named; another release's manifest is not taken."""
    path, adapter = write_adapter(place / "elsewhere", adapter_bytes())
    parent = write_manifest(place, adapter=adapter)
    (place / "RELEASE.json").rename(place / "parent.json")
    write_manifest(place, **{**asdict(parent), "adapter": "ad" * 32, "parent": parent.hash()})
    with pytest.raises(OperatorError, match="--parent-adapter"):
        order(place, "--parent", str(place / "parent.json"))
    named = order(place, "--parent", str(place / "parent.json"), "--parent-adapter", str(path))
    assert named.live == str(path)
    kept, _ = write_adapter(place / "state", adapter_bytes())
    assert order(place, "--parent", str(place / "parent.json")).live == str(kept)
    with pytest.raises(OperatorError, match="goes on from"):
        order(place, "--parent", str(place / "RELEASE.json"))


def test_a_text_that_is_no_manifest_is_a_sentence(place: Path) -> None:
    """Neither another format, nor one that is not in its canonical form."""
    path = place / "RELEASE.json"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(OperatorError, match="canonical form"):
        retrain.manifest_of(path)
    path.write_text("{}")
    with pytest.raises(OperatorError, match="format is not"):
        retrain.manifest_of(path)
    with pytest.raises(OperatorError, match="No such file"):
        retrain.manifest_of(place / "nowhere.json")
