"""`flock retrain`: a release tuned once more from its manifest and its data set, and a comparison of the adapters.

No torch in this process: the tuning is another one, as for `flock train`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

from bot.cli.learning.train import train
from bot.cli.process import Commands, write
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings
from generation.adapters.file import AdapterError, adapter_path, check_adapter
from generation.extras import require
from generation.feedback.dataset.files import DatasetError, verify
from generation.feedback.manifest import Manifest, ManifestError, read_manifest
from generation.feedback.tuning.examples import Example, write_examples
from generation.feedback.tuning.from_votes import TooFewVotesError, lesson_of
from generation.feedback.tuning.order import FILE, RESULT, Order
from generation.feedback.tuning.recipe import Recipe, RecipeError
from generation.models.registry import Model, choose, full_revision, load_models
from generation.models.weights import WeightsError
from generation.printable import one_line
from generation.render_messages import ReleaseAdapter

MOST_BYTES = 1 << 20  # of a manifest's file
LESSON = "lesson"  # the folder of the examples, in that of the training
RECIPE = "recipe.json"  # that a training writes, with the model and its revision


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser(
        "retrain",
        help="repeat a release from its manifest and its data set, and compare the adapters",
        description="Checks that the data set is the one that the release was tuned on, tunes with the recipe and the "
        "seed of the manifest, and compares the adapter's hash. Exits with 0 when it is the same, and with 1 when it "
        "is another. On a CPU it is the same; other hardware and other versions of torch may round otherwise. Killed "
        "at any point, the same command goes on.",
    )
    parser.add_argument("release", type=Path, metavar="RELEASE.json", help="the manifest of the release")
    parser.add_argument("--data", type=Path, required=True, metavar="DATASET", help="the data set of that release")
    parser.add_argument("--model", metavar="ID", help="the model here (default: the one in the manifest)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the new adapter (default: retrain-HASH)")
    parser.add_argument("--parent", type=Path, metavar="RELEASE.json", help="the manifest of the release before it")
    parser.add_argument(
        "--parent-adapter", type=Path, metavar="FILE", help="its adapter (default: the one in the data folder)"
    )
    parser.add_argument(
        "--adapter", type=Path, metavar="FILE", help="the released adapter, to tell by how much another one differs"
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Repeat the training, print the verdict, and return 0 only for the same adapter."""
    settings = load_settings()
    require("train", "Repeating a release")
    manifest = manifest_of(arguments.release)
    order = order_of(settings, manifest, arguments)
    for note in prepare(settings, arguments.data, order):
        write(f"note: {one_line(note)}\n")
    if status := train(order):
        return status
    released = arguments.adapter or adapter_path(settings.data_dir, manifest.adapter)
    is_same, text = verdict(manifest, Path(order.out), released)
    write(text)
    return 0 if is_same else 1


def manifest_of(path: Path) -> Manifest:
    """Return the manifest in a file. Raises OperatorError with a sentence."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise OperatorError(f"{path} is too large for the manifest of a release.")
        return read_manifest(path.read_bytes())
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}.") from error
    except ManifestError as error:
        raise OperatorError(f"{path} cannot be used. {error}") from error


def order_of(settings: Settings, manifest: Manifest, arguments: argparse.Namespace) -> Order:
    """Return the order that repeats a release, once all that it is made of has been checked. Raises OperatorError."""
    try:
        root = verify(arguments.data).root
        recipe = Recipe.of(dict(manifest.recipe))
        models = load_models(settings.data_dir.resolve(), settings.models_file)
        model = choose(models, arguments.model or manifest.base[0])
    except DatasetError as error:
        raise OperatorError(str(error)) from error
    except RecipeError as error:
        raise OperatorError(f"The release's recipe is not one that this version can repeat. {error}") from error
    except TypeError as error:  # a text where a number belongs
        raise OperatorError("The release's recipe has a value of the wrong type.") from error
    except ValueError as error:
        raise OperatorError(str(error)) from error
    if root != manifest.dataset:
        raise OperatorError(
            f"{arguments.data} is not the data set of this release: its root is {root}, and the release was tuned on "
            f"{manifest.dataset}. Nothing was trained."
        )
    _check_revision(model, manifest)
    out = arguments.out or Path(f"retrain-{manifest.hash()[:8]}")
    order = Order(
        data=str(out.resolve() / LESSON),
        model=model,
        out=str(out.resolve()),
        recipe=recipe,
        live=_parent_adapter(settings, manifest, arguments),
        guard_videos=0,  # they do not change the adapter
    )
    _check_place(order)
    return order


def prepare(settings: Settings, dataset: Path, order: Order) -> list[str]:
    """Write the examples that the release learned from, with their latents; return notes on what had to be left out.

    Latents that lie in the data folder are taken, and the others rendered again, as a training worker does. Raises
    OperatorError.
    """
    from generation.training.latents import gather
    from generation.worker.render_process import RenderChild, RenderError

    data_dir, folder = settings.data_dir.resolve(), Path(order.data)

    def child() -> RenderChild:
        write("Videos whose latents are not here are rendered again.\n")
        return RenderChild(order.model, hang_s=settings.hang_s, load_s=settings.load_s)

    async def on_video(number: int, of: int) -> None:
        write(f"rendering: {number} of {of}\n")

    try:
        examples = lesson_of(dataset, order.model.id).examples
        releases = releases_of(examples, data_dir)
        gathering = gather(examples, folder, data_dir, child=child, releases=releases, on_video=on_video)
        complete, notes = asyncio.run(gathering)
        write_examples(folder, complete)
    except (TooFewVotesError, RenderError) as error:
        raise OperatorError(str(error)) from error
    except OSError as error:
        raise OperatorError(f"{error.filename or folder}: {error.strerror}.") from error
    return notes


def releases_of(examples: Iterable[Example], data_dir: Path) -> dict[str, ReleaseAdapter]:
    """Return the releases that rendered some videos, by hash, as far as their adapters are in the data folder."""
    releases: dict[str, ReleaseAdapter] = {}
    for example in examples:
        if example.release is None or example.release in releases:
            continue
        try:
            path = adapter_path(data_dir, example.release)
            check_adapter(path, example.release)
        except (AdapterError, ValueError):
            continue
        releases[example.release] = ReleaseAdapter(example.release_number or 0, example.release, str(path))
    return releases


def _check_revision(model: Model, manifest: Manifest) -> None:
    """Raise OperatorError where the model has other weights here than the release's base model."""
    model_id, revision = manifest.base
    if model.embedded and not Path(model.source).is_dir():
        return  # it is copied to its folder when it is loaded, and `verdict` looks at what was trained
    try:
        here = full_revision(model)
    except OSError as error:
        raise OperatorError(f"The model {model.id} cannot be read: {error.strerror}.") from error
    if here != revision:
        raise OperatorError(
            f"The release's base model is {model_id} at the revision {revision}. {model.id} is here at {here}, from "
            "which another adapter comes."
        )


def _parent_adapter(settings: Settings, manifest: Manifest, arguments: argparse.Namespace) -> str | None:
    """Return the adapter that the release goes on from, if it does. Raises OperatorError."""
    if manifest.parent is None:
        return None
    if arguments.parent is None:
        raise OperatorError(
            f"This release goes on from another one, whose manifest has the hash {manifest.parent}. Name it with "
            "--parent RELEASE.json."
        )
    parent = manifest_of(arguments.parent)
    if parent.hash() != manifest.parent:
        raise OperatorError(
            f"{arguments.parent} has the hash {parent.hash()}, and the release goes on from {manifest.parent}."
        )
    path = arguments.parent_adapter or adapter_path(settings.data_dir, parent.adapter)
    try:
        check_adapter(path, parent.adapter)
    except AdapterError as error:
        raise OperatorError(f"{error} Name the file of the release before with --parent-adapter.") from error
    return str(path.resolve())


def _check_place(order: Order) -> None:
    """Raise OperatorError where the folder holds another training than this one, which may go on."""
    path = Path(order.out) / FILE
    if not path.exists():
        return
    try:
        is_same = Order.read(path) == order
    except (ValueError, OSError):
        is_same = False
    if not is_same:
        raise OperatorError(f"{order.out} holds another training. Name a new folder with --out.")


def verdict(manifest: Manifest, out: Path, released: Path) -> tuple[bool, str]:
    """Return True if the adapter in `out` is the release's, and the lines that say so.

    `released` is the release's adapter, which need not be there.
    """
    result = json.loads((out / RESULT).read_text(encoding="utf-8"))
    revision = str(json.loads((out / RECIPE).read_text(encoding="utf-8"))["model"]).partition("@")[2]
    here = str(result["sha256"])
    is_same = here == manifest.adapter
    first = "The adapter is the same, bit by bit." if is_same else "The adapter is not the same."
    lines = [first, f"  here         {here}", f"  the release  {manifest.adapter}"]
    if not is_same:
        lines += [
            f"  note         {_difference(Path(str(result['adapter'])), released, manifest.adapter)}",
            "  note         Another processor, a GPU, or another version of torch rounds otherwise and may give "
            "another hash from the same data. On the machine that trained the release, the hash is the same.",
        ]
        if revision != manifest.base[1]:
            lines.append(f"  note         The base model is here at the revision {revision}, not {manifest.base[1]}.")
    return is_same, "\n".join(lines) + "\n"


def _difference(path: Path, released: Path, sha256: str) -> str:
    from generation.feedback.tuning.comparison import difference_of

    try:
        check_adapter(released, sha256)
        return difference_of(path, released).sentence
    except (AdapterError, WeightsError, OSError):
        return f"By how much they differ cannot be told: the released adapter is not at {released}."
