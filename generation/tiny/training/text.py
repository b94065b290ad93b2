"""The tokenizer and the text encoder, which learns first, and alone, what a prompt says of each attribute.

The targets are sums of fixed codes, one per attribute and value; an attribute that a prompt leaves open has a code of
its own. The denoiser then gets the same vector for every wording of the same request.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from generation.tiny.training import captions, languages, world
from generation.tiny.training.optimizers import split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5EncoderModel

VOCABULARY = 2048
WIDTH = 64
TOKENS = 48  # of a prompt; a longer one is cut
# LTXPipeline pads prompts to a length that its caller chooses, and masks nothing.
LENGTHS = (1, 1, 1, 1, 1, 1, 48, 48, 48, 128)
BATCH = 96
RATE = 6e-3

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "colour": tuple(world.COLOURS),
    "shape": world.SHAPES,
    "motion": world.MOTIONS,
    "background": tuple(world.BACKGROUNDS),
    "size": tuple(captions.SIZE_WORDS),
    "speed": tuple(captions.SPEED_WORDS),
    "second_colour": tuple(world.COLOURS),
    "second_shape": world.SHAPES,
}


def codes() -> dict[str, Tensor]:
    """Return for each attribute a row for "left open" and one for each value; all rows are orthogonal."""
    count = sum(len(values) + 1 for values in ATTRIBUTES.values())
    generator = torch.Generator().manual_seed(11)
    rows = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0][:count]
    rows = rows * math.sqrt(WIDTH / len(ATTRIBUTES))  # so that a sum of six has elements of size 1
    out, at = {}, 0
    for name, values in ATTRIBUTES.items():
        out[name] = rows[at : at + len(values) + 1]
        at += len(values) + 1
    return out


def target(caption: captions.Caption) -> list[int]:
    """Return for each attribute the row of its code: 0 if the caption leaves it open."""
    attributes = [(values, getattr(caption, name)) for name, values in ATTRIBUTES.items()]
    return [values.index(value) + 1 if value in values else 0 for values, value in attributes]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE over the world's words; it spells any other text in bytes, so that it reads every script.

    Capital letters become small ones, and words of other languages the English ones: see `languages`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = languages.normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=1,
    )
    tokenizer.train_from_iterator(captions.corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        pad_token="<pad>",  # noqa: S106  # a token of text, not of access
        eos_token="</s>",  # noqa: S106  # as above
        unk_token="<unk>",  # noqa: S106  # as above
    )


def without_languages(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return a copy that leaves other languages alone: a hundred times quicker, for captions that are English."""
    from tokenizers import normalizers

    quick = copy.deepcopy(tokenizer)
    quick.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return quick


def build_encoder() -> T5EncoderModel:
    """Return an untrained T5 encoder."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=VOCABULARY,
            d_model=WIDTH,
            d_kv=16,
            d_ff=192,
            num_layers=3,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        )
    )


def tokens(tokenizer: PreTrainedTokenizerFast, texts: list[str], length: int = TOKENS) -> tuple[Tensor, Tensor]:
    """Return ids and mask, padded to `length`."""
    batch = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask


def _padded_tokens(tokenizer: PreTrainedTokenizerFast, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Return the same as `tokens`, but at least as long as the longest."""
    longest = max(len(ids) for ids in tokenizer(texts).input_ids)
    return tokens(tokenizer, texts, min(TOKENS if length <= TOKENS else length, max(length, longest)))


@dataclass(frozen=True)
class Lesson:
    """Some steps of the encoder's training."""

    steps: int
    of_two: float  # share of captions of two shapes
    pairs: float  # share of those that are a few words
    pace: float = 1.0  # share of the full rates


# Which of two shapes comes first is found in a few words, or not at all: whole captions of them come afterwards.
LESSONS = (Lesson(4000, world.TWO, 0.0), Lesson(800, 1.0, 1.0, pace=0.5), Lesson(3000, 0.5, 0.3, pace=0.5))


def _write(lesson: Lesson, dice: np.random.Generator) -> captions.Caption:
    two = bool(dice.random() < lesson.of_two)
    scene = world.random_scene(dice, two=two)
    pair = two and lesson.pairs and dice.random() < lesson.pairs
    return captions.write_pair(scene, dice) if pair else captions.write(scene, dice)


def train_encoder(
    encoder: T5EncoderModel,
    tokenizer: PreTrainedTokenizerFast,
    dice: np.random.Generator,
    lesson: Lesson,
    say: Callable[[int, int, str], None],
) -> None:
    """Train the encoder in place, with captions that are written at each step."""
    tokenizer = without_languages(tokenizer)
    table, steps = codes(), lesson.steps
    optimizers = split(encoder, "block.", lr=RATE)
    rates = [lesson.pace * group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    encoder.train()
    smooth = 1.0
    for step in range(steps):
        batch = [_write(lesson, dice) for _ in range(BATCH)]
        ids, mask = _padded_tokens(tokenizer, [caption.text for caption in batch], int(dice.choice(LENGTHS)))
        targets = target_vectors(table, torch.tensor([target(caption) for caption in batch]))
        output = encoder(ids).last_hidden_state  # no mask: the pipeline passes none
        loss = ((output - targets[:, None]).square().mean(2) * mask).sum() / mask.sum()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 30, (steps - step) / (steps * 0.6))
        for optimizer in optimizers:
            optimizer.step()
        smooth += (loss.item() - smooth) * max(0.03, 1 / (step + 1))
        if (step + 1) % 50 == 0 or step + 1 == steps:
            say(step + 1, steps, f"loss {smooth:.4f}")
    encoder.eval()


def target_vectors(table: dict[str, Tensor], rows: Tensor) -> Tensor:
    """Return the sum of codes of each caption: (captions, WIDTH)."""
    return sum((table[name][rows[:, at]] for at, name in enumerate(ATTRIBUTES)), torch.zeros(len(rows), WIDTH))


def understood(
    encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, texts: list[str], length: int = TOKENS
) -> list[dict[str, str | None]]:
    """Return the encoder's reading of each prompt: each attribute's value by the nearest code; None if left open."""
    table = codes()
    ids, mask = tokens(tokenizer, texts, length)
    with torch.no_grad():
        output = encoder(ids).last_hidden_state
    mean = (output * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    out: list[dict[str, str | None]] = [{} for _ in texts]
    for name, values in ATTRIBUTES.items():
        for number, best in enumerate((mean @ table[name].T).argmax(1).tolist()):
            out[number][name] = values[best - 1] if best else None
    return out
