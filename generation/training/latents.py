"""The latents of voted videos: those that lie on this machine, and the others rendered again from their seeds.

A video is rendered again by the process that renders for members, with the release that it was made with: the same
seed gives the same latents. Imports no torch.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from generation.feedback.tuning.examples import LATENTS, Example, path_of_latents
from generation.models.weights import WeightsError, tensors_of
from generation.render_messages import FailureKind, ReleaseAdapter, RenderRequest, Tick
from generation.video.latents import TENSOR, latents_hash, latents_path, read_latents
from generation.worker.render_process import RenderChild, RenderError

log = logging.getLogger(__name__)

OnVideo = Callable[[int, int], Awaitable[None]]  # how many videos are rendered again, of how many


async def gather(
    examples: list[Example],
    folder: Path,
    data_dir: Path,
    *,
    child: Callable[[], RenderChild],
    releases: Mapping[str, ReleaseAdapter],
    on_video: OnVideo,
) -> tuple[list[Example], list[str]]:
    """Return the examples with the latents that lie in `folder` now, and sentences on what had to be left out.

    `child` begins the process that renders, where it is needed; it has ended when this returns. What an earlier attempt
    has brought is not brought again. Raises RenderError where the model cannot be loaded, and OSError.
    """
    here = await asyncio.to_thread(_bring_kept, examples, folder, data_dir)
    missing = [example for example in examples if example.video not in here]
    lost = [each for each in missing if each.release is not None and each.release not in releases]
    again = [each for each in missing if each not in lost]
    if again:
        here |= await _render_again(again, folder, child(), releases, on_video)
    complete = [
        replace(each, latents_sha256=here.get(each.video))
        for each in examples
        if each.release is None or each.video in here
    ]
    fitting = await asyncio.to_thread(_of_one_shape, complete, folder)
    notes = []
    if gone := len(examples) - len(complete):
        notes.append(f"{gone} of {len(examples)} videos were left out: a release rendered them, and cannot any more.")
    if misfits := len(complete) - len(fitting):
        notes.append(f"{misfits} of {len(examples)} videos were left out: they have another size than most.")
    return fitting, notes


def _bring_kept(examples: list[Example], folder: Path, data_dir: Path) -> dict[str, str]:
    """Return the hashes of the latents in `folder` by video, once those that lie on this machine are there as well."""
    (folder / LATENTS).mkdir(parents=True, exist_ok=True, mode=0o700)
    here: dict[str, str] = {}
    wanted: dict[str, list[Example]] = {}
    for example in examples:
        path = path_of_latents(folder, example.video)
        if path.is_file() and (sha256 := _hash_of(path)) is not None:
            here[example.video] = sha256
        elif example.latents_sha256 is not None:
            wanted.setdefault(example.latents_sha256, []).append(example)
    for sha256, path in _kept(data_dir / "videos") if wanted else ():
        for example in wanted.get(sha256, ()):
            if read_latents(path, sha256) is not None:
                _put(path, path_of_latents(folder, example.video))
                here[example.video] = sha256
    return here


def _kept(videos: Path) -> Iterator[tuple[str, Path]]:
    """Yield the hash and the path of each file of latents beside a video, as the note beside the video has them."""
    for note in sorted(videos.glob("*.json")):
        path = latents_path(note.with_suffix(".mp4"))
        try:
            card = json.loads(note.read_text(encoding="utf-8"))["result"]["provenance"]
            sha256 = str(card["latents"]["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if path.is_file():
            yield sha256, path


async def _render_again(
    examples: list[Example],
    folder: Path,
    child: RenderChild,
    releases: Mapping[str, ReleaseAdapter],
    on_video: OnVideo,
) -> dict[str, str]:
    """Render videos again, and return the hashes of their latents; those of a pipeline without latents are missing.

    Those of one release follow each other: another one is loaded seldom.
    """
    made: dict[str, str] = {}
    drafts = folder / "rendered"
    others = 0
    try:
        for number, example in enumerate(sorted(examples, key=lambda each: (each.release or "", each.video))):
            await on_video(number, len(examples))
            video = drafts / f"{example.video}.mp4"
            request = RenderRequest(
                prompt=example.prompt,
                seed=example.seed,
                video_path=str(video),
                poster_path=str(video.with_suffix(".jpg")),
                latents_path=str(latents_path(video)),
                release=None if example.release is None else releases[example.release],
            )
            try:
                await child.render(request, on_tick=_no_tick, cancel=asyncio.Event())
            except RenderError as error:
                if error.kind in {FailureKind.LOAD, FailureKind.CLOSED}:
                    raise
                log.warning("A voted video could not be rendered again: %s", error)
                continue
            if (sha256 := await asyncio.to_thread(_take, latents_path(video), folder, example)) is not None:
                made[example.video] = sha256
                others += example.latents_sha256 not in (None, sha256)
            shutil.rmtree(drafts, ignore_errors=True)
    finally:
        await child.close()
        shutil.rmtree(drafts, ignore_errors=True)
    if others:
        log.warning(
            "%d of %d videos have other latents than at first: another kind of GPU, or versions.", others, len(made)
        )
    return made


async def _no_tick(_tick: Tick) -> None:
    """Say nothing of a render's own steps: progress is counted in videos."""


def _take(path: Path, folder: Path, example: Example) -> str | None:
    if not path.is_file() or (sha256 := _hash_of(path)) is None:
        return None
    _put(path, path_of_latents(folder, example.video))
    return sha256


def _put(path: Path, target: Path) -> None:
    """Let a file lie at another place as well, whole: by a link, or as a copy where that is on another disk."""
    draft = target.with_name(f".{target.name}")
    draft.unlink(missing_ok=True)
    try:
        draft.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, draft)
    draft.replace(target)


def _hash_of(path: Path) -> str | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        latents = load(path.read_bytes()).get(TENSOR)
    except (OSError, SafetensorError):
        return None
    return None if latents is None else latents_hash(latents)


def _of_one_shape(examples: list[Example], folder: Path) -> list[Example]:
    """Return the examples whose latents have the most common shape, or are made by tuning itself."""
    shapes: dict[str, tuple[int, ...]] = {}
    for example in examples:
        if example.latents_sha256 is not None:
            try:
                shapes[example.video] = tensors_of(path_of_latents(folder, example.video))[TENSOR].shape
            except (OSError, WeightsError, KeyError):
                shapes[example.video] = ()
    if not shapes:
        return examples
    counts = Counter(shapes.values())
    usual = max(counts, key=lambda shape: (counts[shape], shape))
    return [each for each in examples if shapes.get(each.video, usual) == usual]
