"""`python -m generation.feedback.best_of`: the render process of a worker, with the taste that chooses among takes.

Where a request asks for it, a prompt is rendered from several seeds, the taste scorer scores the final latents of each,
and the best one becomes the video. A score is no vote, and counts in no tally. Whatever keeps the scorer from its
work is said once, and the video is rendered from its own seed alone. With torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from generation.feedback.scoring.taste import Taste, TasteError, best_of, load_taste, seeds_of
from generation.render.child import serve
from generation.render.denoise import Chosen, NoPictureError, Render, Take, one_take
from generation.render.latents import FinalLatents
from generation.render.progress import Steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generation.feedback.denoisers.features import LatentReader
    from generation.render.loading import WarmPipeline
    from generation.render.lora.releases import ReleaseSwitch
    from generation.render_messages import RenderRequest, TasteChoice

log = logging.getLogger("generation.feedback.best_of")  # also as a process, whose main module it is


class TasteChooser:
    """Chooses by the taste that a request names. One pipeline is served, the one that is loaded in the process."""

    def __init__(self) -> None:
        self._reader: LatentReader | None = None
        self._taste: tuple[str, Taste] | None = None  # with the SHA-256 of its file
        self._unusable: set[str] = set()  # SHA-256 of files, each with its line in the log

    def __call__(self, warm: WarmPipeline, releases: ReleaseSwitch, request: RenderRequest, render: Render) -> Chosen:
        """Return the best take of a request; the only one where no taste is asked for, or none can choose."""
        wish = request.best_of
        score = None if wish is None or wish.count < 2 else self._scorer(warm, releases, wish)
        if wish is None or score is None:
            return one_take(warm, releases, request, render)
        seeds = seeds_of(request.seed, wish.count)
        failures: list[NoPictureError] = []

        def take_of(seed: int) -> Take | None:
            try:
                return render(seed, seeds.index(seed), len(seeds))
            except NoPictureError as error:  # another seed may give a picture
                failures.append(error)
                return None

        scores: dict[int, float] = {}

        def score_of(take: Take | None) -> float:
            value = score(take)
            if take is not None:
                scores[take.seed] = value
            return value

        seed, take = best_of(seeds, take_of, score_of)
        if take is None:
            raise failures[0]
        return Chosen(
            take,
            {
                "count": len(seeds),
                "index": seeds.index(seed),
                "first_seed": request.seed,
                "taste_sha256": wish.taste_sha256,
                "score": round(scores[seed], 4) if np.isfinite(scores[seed]) else None,
            },
        )

    def _scorer(
        self, warm: WarmPipeline, releases: ReleaseSwitch, wish: TasteChoice
    ) -> Callable[[Take | None], float] | None:
        """Return what scores a take by a taste; None where that cannot choose, once with a line in the log."""
        if wish.taste_sha256 in self._unusable:
            return None
        try:
            return self._tried_scorer(warm, releases, wish)
        except Exception as error:  # of a library too: no video fails for its taste
            _raise_if_memory(error)
            self._unusable.add(wish.taste_sha256)
            log.warning("A taste cannot choose: videos are rendered once. %s", _sentence(error))
            return None

    def _tried_scorer(
        self, warm: WarmPipeline, releases: ReleaseSwitch, wish: TasteChoice
    ) -> Callable[[Take | None], float]:
        """Raise TasteError, FamilyError, or whatever a library raises, before anything is rendered."""
        if self._taste is None or self._taste[0] != wish.taste_sha256:
            self._taste = None
            taste = load_taste(Path(wish.path), f"{warm.model.id}@{warm.revision}")
            if not taste.is_useful:
                raise TasteError("It does no better than chance on prompts that it has not seen.")
            if warm.preset.passes != 1 or not FinalLatents().arguments(type(warm.pipeline)):
                raise TasteError(f"{type(warm.pipeline).__name__} hands no final latents over.")
            if self._reader is None:
                self._reader = _reader_of(warm, releases)
            _score_of(self._reader, taste, warm, self._reader.noise.float().cpu().numpy())
            self._taste = wish.taste_sha256, taste
        reader, taste = self._reader, self._taste[1]
        assert reader is not None  # noqa: S101  # made with the first taste

        def score(take: Take | None) -> float:
            """Return the score of a take; the least there is where it has none."""
            if take is None or take.latents is None:
                return -np.inf
            value = _score_of(reader, taste, warm, take.latents)
            return value if np.isfinite(value) else -np.inf

        return score


def _reader_of(warm: WarmPipeline, releases: ReleaseSwitch) -> LatentReader:
    from generation.feedback.denoisers.features import LatentReader

    Steps(lambda _step, _steps: None, steps=warm.preset.steps).watch(warm.pipeline)  # in place of the last request's
    try:
        with _as_written(warm):
            return LatentReader(warm.pipeline, warm.preset, releases.set_aside)
    finally:
        warm.pipeline.maybe_free_model_hooks()


def _score_of(reader: LatentReader, taste: Taste, warm: WarmPipeline, latents: NDArray[np.floating]) -> float:
    import torch

    try:
        with _as_written(warm):
            features = reader(torch.from_numpy(latents.astype(np.float32)), taste.channels)
    finally:
        warm.pipeline.maybe_free_model_hooks()
    return float(taste.score(features)[0])


@contextmanager
def _as_written(warm: WarmPipeline) -> Iterator[None]:
    """Run the denoisers as they are written.

    Compiled blocks do not call the hook that looks into them, and a cache between steps wants a place of its own.
    """
    import torch

    parts = [part for part in warm.pipeline.components.values() if getattr(part, "is_cache_enabled", False)]
    with ExitStack() as stack:
        if warm.model.compile:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for part in parts:
            stack.enter_context(part.cache_context("taste"))
        yield


def _raise_if_memory(error: Exception) -> None:
    """Raise an error again that says that memory ran out: the model is then loaded in a lighter way."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        raise error


def _sentence(error: Exception) -> str:
    from generation.feedback.denoisers.families import FamilyError

    if isinstance(error, TasteError | FamilyError):
        return str(error)
    return f"The scorer failed ({type(error).__name__})."


if __name__ == "__main__":
    serve(TasteChooser())
