"""The training of the tiny pipeline from nothing: `python -m generation.tiny train`.

The text encoder learns what captions say; the encoder of the autoencoder is computed from clips, and its decoder learns
to draw them; the denoiser learns to make the clips' latents. The same seeds, threads and machine give the same weights.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from generation.models.registry import TINY_LOOKS
from generation.tiny.training import denoiser as denoisers
from generation.tiny.training import text, vae, world
from generation.tiny.training.decoder import FIT_CLIPS, fit_decoder, train_decoder
from generation.tiny.training.known_words import write_known_words
from generation.tiny.training.measure import measure, show

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
    from transformers import PreTrainedTokenizerFast, T5EncoderModel

BUILD = Path("build/tiny")
SEED = 2026
DECODER_STEPS = 400
CLIPS = 16_000
BATCH = 32  # of the denoiser's training
SAVED_EVERY = 250  # steps; an interrupted training goes on from there


class Progress:
    """The lines of progress: steps, time to go, seconds on the clock and on the processor."""

    def __init__(self, part: str, begun_at: int = 0) -> None:
        self.part, self.begun_at = part, begun_at
        self.clock, self.processor = time.monotonic(), time.process_time()

    def __call__(self, step: int, steps: int, note: str = "") -> None:
        took, busy = time.monotonic() - self.clock, time.process_time() - self.processor
        to_go = took / max(1, step - self.begun_at) * (steps - step)
        sys.stderr.write(
            f"{self.part} {step}/{steps}  {note}  {took:.0f} s ({busy:.0f} s of processor), {to_go:.0f} s to go\n"
        )
        sys.stderr.flush()


def train(folder: Path, rounds: int = 1) -> None:
    """Train everything and write the pipeline to `folder`, with a card that has its figures.

    The denoiser needs one core and the latents; the other parts are made beside it, on as many cores as
    OMP_NUM_THREADS says, or all. Finished parts lie in build/tiny, from which an interrupted training goes on. Each
    of the `rounds` takes the denoiser about an hour of one core, and makes it better.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    missing = [part for part in PARTS if not (BUILD / f"{part}.pt").is_file()]
    beside, spawn = max(1, torch.get_num_threads() - 1), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(beside, spawn, torch.set_num_threads, (1,)) as others:
        done = {part: others.submit(_make_part, part) for part in missing}
        if "latents" in done:
            done["latents"].result()
        torch.set_num_threads(1)
        denoiser = _train_denoiser(_kept("latents"), rounds)
        for part in done.values():
            part.result()
    encoder, autoencoder = text.build_encoder(), vae.build_vae()
    encoder.load_state_dict(_kept("text"))
    autoencoder.load_state_dict(_kept("autoencoder"))
    save_pipeline(folder, text.build_tokenizer(), encoder, autoencoder, denoiser)
    torch.set_num_threads(beside + 1)
    figures = measure(folder)
    sys.stderr.write(show(figures) + "\n")
    write_card(folder, figures, rounds)
    shutil.rmtree(BUILD)


def _train_denoiser(clips: dict[str, torch.Tensor], rounds: int) -> LTXVideoTransformer3DModel:
    """Return the average of the weights over the last steps; `clips` are the latents and facts of `_latents`."""
    torch.manual_seed(SEED)
    apprentice = denoisers.Apprentice(denoisers.ROUNDS[:rounds], BATCH, SEED)
    checkpoint = BUILD / "denoiser.pt"
    if checkpoint.is_file():
        apprentice.go_on_from(torch.load(checkpoint, weights_only=True))
    turns = denoisers.angles(apprentice.denoiser, tuple(clips["latents"].shape[2:]))
    say, smooth = Progress("denoiser", apprentice.step), 0.0
    begun_at = apprentice.step
    steps = _steps(rounds)
    while apprentice.step < steps:
        loss = apprentice.learn(clips["latents"], clips["rows"], turns)
        smooth += (loss - smooth) * max(0.02, 1 / (apprentice.step - begun_at))
        if apprentice.step % 50 == 0:
            say(apprentice.step, steps, f"loss {smooth:.4f}")
        if apprentice.step % SAVED_EVERY == 0:
            _replace(checkpoint, apprentice.state())
    return apprentice.averaged


def _steps(rounds: int) -> int:
    return sum(lesson.steps for lesson in denoisers.ROUNDS[:rounds])


def _make_part(part: str) -> None:
    torch.manual_seed(SEED)
    _replace(BUILD / f"{part}.pt", PARTS[part]())


def _kept(part: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(BUILD / f"{part}.pt", weights_only=True)
    return state


def _replace(path: Path, state: Mapping[str, object]) -> None:
    draft = path.with_suffix(".draft")
    torch.save(state, draft)
    draft.replace(path)


def _train_text() -> dict[str, torch.Tensor]:
    """Return the weights of the text encoder."""
    encoder, tokenizer = text.build_encoder(), text.build_tokenizer()
    for number, lesson in enumerate(text.LESSONS):
        say = Progress(f"text encoder, lesson {number + 1} of {len(text.LESSONS)}")
        text.train_encoder(encoder, tokenizer, np.random.default_rng(SEED + number), lesson, say)
    state: dict[str, torch.Tensor] = encoder.state_dict()
    return state


def _components() -> vae.Components:
    """Return the components of some clips, the same at each call."""
    dice = np.random.default_rng(SEED + 1)
    return vae.Components(vae.to_tensor(np.concatenate([clips for _, clips in denoisers.make_clips(vae.CLIPS, dice)])))


def _train_autoencoder() -> dict[str, torch.Tensor]:
    """Return the weights of the autoencoder: its encoder computed, its decoder fitted and trained."""
    parts, autoencoder = _components(), vae.build_vae()
    vae.write_weights(autoencoder, parts)
    dice = np.random.default_rng(SEED + 2)
    clips = np.concatenate([clips for _, clips in denoisers.make_clips(FIT_CLIPS, dice)])
    fit_decoder(autoencoder, parts, vae.to_tensor(clips), torch.Generator().manual_seed(SEED + 2))
    train_decoder(autoencoder, parts, dice, DECODER_STEPS, Progress("decoder"))
    state: dict[str, torch.Tensor] = autoencoder.state_dict()
    return state


def _latents() -> dict[str, torch.Tensor]:
    """Return latents of the training set with the codes of each."""
    dice, say, parts = np.random.default_rng(SEED + 3), Progress("clips"), _components()
    latents, rows = [], []
    for scenes, clips in denoisers.make_clips(CLIPS, dice):
        latents.append(parts.encode(vae.to_tensor(clips)).half())
        rows.append(denoisers.facts(scenes))
        if len(rows) % 20 == 0:
            say(len(rows) * len(scenes), CLIPS)
    return {"latents": torch.cat(latents), "rows": torch.cat(rows)}


# What build/tiny keeps beside the denoiser, and its makers; the denoiser waits for the first.
PARTS: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "latents": _latents,
    "text": _train_text,
    "autoencoder": _train_autoencoder,
}


def save_pipeline(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    encoder: T5EncoderModel,
    autoencoder: AutoencoderKLLTXVideo,
    denoiser: LTXVideoTransformer3DModel,
) -> None:
    """Write a pipeline in standard diffusers format, half precision, in place of the folder's contents."""
    import copy

    from diffusers import FlowMatchEulerDiscreteScheduler, LTXPipeline

    pipeline = LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=denoisers.SHIFT),
        vae=copy.deepcopy(autoencoder).half(),
        text_encoder=copy.deepcopy(encoder).half(),
        tokenizer=tokenizer,
        transformer=copy.deepcopy(denoiser).half(),
    )
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    pipeline.save_pretrained(draft, safe_serialization=True)
    write_known_words(draft)
    if (folder / "README.md").is_file():
        shutil.copyfile(folder / "README.md", draft / "README.md")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def write_card(folder: Path, figures: dict[str, float], rounds: int) -> None:
    """Write the model card: its purpose, training, figures and limits."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    (folder / "README.md").write_text(
        CARD.format(
            figures=show(figures),
            size=size,
            clips=CLIPS,
            seen=_steps(rounds) * BATCH,
            rounds=f" --rounds {rounds}" if rounds > 1 else "",
            captions=sum(lesson.steps for lesson in text.LESSONS) * text.BATCH,
            width=world.SIZE,
            looks=TINY_LOOKS,
        )
    )


CARD = """\
---
license: mit
pipeline_tag: text-to-video
library_name: diffusers
---

# The tiny model

A text-to-video diffusion pipeline (`LTXPipeline`) that knows nine colours, six shapes, eight motions and seven
backgrounds, one shape or two, and nothing else; in English, German, Spanish, French, Russian, Japanese, Korean and
Chinese. It comes with FLock so that the whole loop can be tried without a GPU or a download.

```python
from diffusers import DiffusionPipeline
import torch

pipeline = DiffusionPipeline.from_pretrained("FOLDER", dtype=torch.float32)
frames = pipeline(
    "a red circle rolls to the right over a blue field",
    width={width},
    height={width},
    num_frames={looks[frames]},
    num_inference_steps={looks[steps]},
    guidance_scale={looks[guidance]},
    max_sequence_length={looks[max_sequence_length]},
).frames[0]
```

Trained by `python -m generation.tiny train{rounds}` on {clips} synthetic clips, seen {seen} times in all, and
{captions} captions, all drawn and written by the code in `generation/tiny`. {size:.1f} MB in half precision.

Measured on prompts whose combination of colour, shape and motion the training set lacks, in patterns of sentences that
it lacks too, by arithmetic on the frames (`generation/tiny/training/judge.py`):

{figures}

Limits: two shapes at most, which move alike, {width}x{width} pixels; a prompt about anything else gets some shape of
its choice.
"""
