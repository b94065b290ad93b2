"""Trains the tiny pipeline from nothing: `python -m generation.tiny train`.

The text encoder learns what captions say, the autoencoder is computed from clips, the denoiser learns to make the
clips' latents. Same seeds, same threads, same machine: same weights.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generation.models.registry import TINY_LOOKS
from generation.tiny.training import denoiser as denoisers
from generation.tiny.training import text, vae, world
from generation.tiny.training.measure import measure, show

BUILD = Path("build/tiny")
SEED = 2026
TEXT_STEPS = 4000
CLIPS = 16_000
STEPS, BATCH = 8000, 32
SAVED_EVERY = 250  # steps; then what there is so far can be tried, and an interrupted training goes on from there


class Progress:
    """A line now and then: how far, how much longer, seconds on the clock and on the processor."""

    def __init__(self, part: str, begun_at: int = 0) -> None:
        self.part, self.begun_at = part, begun_at
        self.clock, self.processor = time.monotonic(), time.process_time()

    def __call__(self, done: int, of: int, note: str = "") -> None:
        took, busy = time.monotonic() - self.clock, time.process_time() - self.processor
        left = took / max(1, done - self.begun_at) * (of - done)
        sys.stderr.write(
            f"{self.part} {done}/{of}  {note}  {took:.0f} s ({busy:.0f} s of processor), {left:.0f} s to go\n"
        )
        sys.stderr.flush()


def train(folder: Path) -> None:
    """Trains everything and writes the pipeline to `folder`, with a card that says how well it does.

    What is done lies in build/tiny: a training that was interrupted goes on from there. Threads: OMP_NUM_THREADS, or
    all cores.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    tokenizer, encoder = text.build_tokenizer(), text.build_encoder()
    encoder.load_state_dict(_once("text", lambda: _taught(encoder, tokenizer)))
    made = _once("latents", _latents)
    autoencoder = vae.build_vae()
    autoencoder.load_state_dict({name[4:]: value for name, value in made.items() if name.startswith("vae.")})
    learnt = denoisers.Apprentice(STEPS, BATCH, SEED)
    checkpoint = BUILD / "denoiser.pt"
    if checkpoint.is_file():
        learnt.go_on_from(torch.load(checkpoint, weights_only=True))
    turns = denoisers.angles(learnt.denoiser, tuple(made["latents"].shape[2:]))
    say, smooth = Progress("denoiser", learnt.step), 0.0
    begun_at = learnt.step
    while learnt.step < STEPS:
        loss = learnt.learn(made["latents"], made["rows"], turns)
        smooth += (loss - smooth) * max(0.02, 1 / (learnt.step - begun_at))
        if learnt.step % 50 == 0:
            say(learnt.step, STEPS, f"loss {smooth:.4f}")
        if learnt.step % SAVED_EVERY == 0:
            _replace(checkpoint, learnt.state())
            save_pipeline(folder, tokenizer, encoder, autoencoder, learnt.averaged)
    save_pipeline(folder, tokenizer, encoder, autoencoder, learnt.averaged)
    figures = measure(folder)
    sys.stderr.write(show(figures) + "\n")
    write_card(folder, figures)
    shutil.rmtree(BUILD)


def _once(part: str, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """What `make` gives, kept in build/tiny for a training that goes on."""
    path = BUILD / f"{part}.pt"
    if not path.is_file():
        _replace(path, make())
    kept: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return kept


def _replace(path: Path, state: dict[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    torch.save(state, draft)
    draft.replace(path)


def _taught(encoder: Any, tokenizer: Any) -> dict[str, torch.Tensor]:
    text.train_encoder(encoder, tokenizer, np.random.default_rng(SEED), TEXT_STEPS, Progress("text encoder"))
    state: dict[str, torch.Tensor] = encoder.state_dict()
    return state


def _latents() -> dict[str, torch.Tensor]:
    """The autoencoder's weights, and latents of the training set with what a prompt may say of each."""
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
    weights = {f"vae.{name}": value for name, value in autoencoder.state_dict().items()}
    return {**weights, "latents": torch.cat(latents), "rows": torch.cat(rows)}


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


def write_card(folder: Path, figures: dict[str, float]) -> None:
    """The model card: what it is, how it was made, what it does well and what not."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    (folder / "README.md").write_text(
        CARD.format(
            figures=show(figures),
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

Trained by `python -m generation.tiny train` on {clips} synthetic clips, seen {seen} times in all, and
{captions} captions, all drawn and written by the code in `generation/tiny`. {size:.1f} MB in half precision.

Measured on prompts whose combination of colour, shape and motion the training set lacks, in patterns of sentences that
it lacks too, by arithmetic on the frames (`generation/tiny/training/judge.py`):

{figures}

Limits: one shape at a time, {width}x{width} pixels; a prompt about anything else gets some shape of its choice.
"""
