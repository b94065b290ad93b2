"""Trains the tiny pipeline from nothing: `python -m generation.tiny train`.

Three parts that need nothing of one another: the text encoder learns what captions say, the autoencoder is computed
from clips, the denoiser learns to make the clips' latents. Same seeds, same threads, same machine: same weights.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generation.models import TINY_LOOKS
from generation.tiny import denoiser as denoisers
from generation.tiny import text, vae, world
from generation.tiny.measure import measure, show

SEED = 2026
THREADS = 2
TEXT_STEPS = 1200
CLIPS = 8000
STEPS, BATCH = 9000, 16
SAVED_EVERY = 500  # steps: what there is so far can be tried


class Progress:
    """A line now and then: how far, how much longer, seconds on the clock and on the processor."""

    def __init__(self, part: str) -> None:
        self.part, self.begun, self.processor = part, time.monotonic(), time.process_time()

    def __call__(self, done: int, of: int, note: str = "") -> None:
        took, busy = time.monotonic() - self.begun, time.process_time() - self.processor
        left = took / done * (of - done)
        line = f"{self.part} {done}/{of}  {note}  {took:.0f} s ({busy:.0f} s of processor), {left:.0f} s to go"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def train(folder: Path) -> None:
    """Trains everything and writes the pipeline to `folder`, with a card that says how well it does."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    begun, processor = time.monotonic(), time.process_time()
    tokenizer, encoder = text.build_tokenizer(), text.build_encoder()
    text.train_encoder(encoder, tokenizer, np.random.default_rng(SEED), TEXT_STEPS, Progress("text encoder"))
    autoencoder, latents, rows = _latents()

    def save(averaged: Any) -> None:
        save_pipeline(folder, tokenizer, encoder, autoencoder, averaged)

    untrained = denoisers.build_denoiser()
    averaged = denoisers.train_denoiser(
        untrained, latents, rows, steps=STEPS, batch=BATCH, seed=SEED, say=Progress("denoiser"),
        save=save, saved_every=SAVED_EVERY,
    )  # fmt: skip
    save(averaged)
    minutes, busy = (time.monotonic() - begun) / 60, (time.process_time() - processor) / 60
    figures = measure(folder)
    sys.stderr.write(show(figures) + "\n")
    write_card(folder, figures, f"{minutes:.0f} minutes on the clock, {busy:.0f} of processor time, {THREADS} threads")


def _latents() -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The autoencoder, and latents of the training set with what a prompt may say of each."""
    dice, say = np.random.default_rng(SEED + 1), Progress("clips")
    first = np.concatenate([clips for _, clips in denoisers.make_clips(vae.CLIPS, dice)])
    parts = vae.Components(vae.to_tensor(first))
    autoencoder = vae.build_vae()
    vae.write_weights(autoencoder, parts)
    latents, rows = [], []
    for scenes, clips in denoisers.make_clips(CLIPS, dice):
        latents.append(parts.encode(vae.to_tensor(clips)).half())
        rows.append(denoisers.facts(scenes))
        if len(rows) % 20 == 0:
            say(len(rows) * len(scenes), CLIPS)
    return autoencoder, torch.cat(latents), torch.cat(rows)


def save_pipeline(folder: Path, tokenizer: Any, encoder: Any, autoencoder: Any, denoiser: Any) -> None:
    """Writes a pipeline in standard diffusers format, half precision, in place of what lay there."""
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
    if (folder / "README.md").is_file():
        shutil.copyfile(folder / "README.md", draft / "README.md")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def write_card(folder: Path, figures: dict[str, float], took: str) -> None:
    """The model card: what it is, how it was made, what it does well and what not."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    (folder / "README.md").write_text(
        CARD.format(
            figures=show(figures),
            took=took,
            size=size,
            clips=CLIPS,
            seen=STEPS * BATCH,
            captions=TEXT_STEPS * text.BATCH,
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
backgrounds, and nothing else. It comes with FLock so that the whole loop can be tried without a GPU or a download.

```python
from diffusers import DiffusionPipeline
import torch

pipeline = DiffusionPipeline.from_pretrained("FOLDER", dtype=torch.float32)
frames = pipeline("a red circle rolls to the right over a blue field", width={width}, height={width},
                  num_frames={looks[frames]}, num_inference_steps={looks[steps]},
                  guidance_scale={looks[guidance]}, max_sequence_length={looks[max_sequence_length]}).frames[0]
```

Trained by `python -m generation.tiny train` ({took}) on {clips} synthetic clips, seen {seen} times in all, and
{captions} captions, all drawn and written by the code in `generation/tiny`. {size:.1f} MB in half precision.

Measured on prompts whose combination of colour, shape and motion the training set lacks, in patterns of sentences that
it lacks too, by arithmetic on the frames (`generation/tiny/judge.py`):

{figures}

Limits: one shape at a time, {width}x{width} pixels; a prompt about anything else gets some shape of its choice.
"""
