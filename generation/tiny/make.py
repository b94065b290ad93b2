"""Makes the tiny pipeline: a Wan pipeline in standard diffusers format, small enough for two CPU cores.

Its weights are random under a fixed seed until it is trained: pictures are patterns that differ by prompt and seed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from generation.models import REVISION_FILE, folder_revision

VOCABULARY = 512
TEXT_WIDTH = 64
LATENTS = 8

# Words for the tokenizer's merges; any other text is spelt in bytes, so that every prompt in every script is read.
_CORPUS = [
    "a red green blue yellow purple orange white black circle square triangle star heart",
    "moves left right up down rolls jumps spins slowly quickly grows shrinks",
    "on a dark light background over a field at night in the rain",
]


def make_tiny_pipeline(folder: Path) -> str:
    """Makes the pipeline in `folder`, once; returns its revision: sha-256 over its files, 64 hex digits.

    The folder appears whole or not at all, also when several processes make it at the same time.
    Raises FileExistsError when something else lies there.
    """
    marker = folder / REVISION_FILE
    if marker.is_file():
        return marker.read_text().strip()
    if folder.exists() and not marker.is_file():  # asked again: another process may have been quicker just now
        raise FileExistsError(f"{folder} exists and holds no tiny pipeline; name a new folder, or remove it.")
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    _build().save_pretrained(draft, safe_serialization=True)
    revision = folder_revision(draft)
    (draft / REVISION_FILE).write_text(revision + "\n")
    try:
        draft.rename(folder)
    except OSError:  # another process was quicker; what it made is the same
        shutil.rmtree(draft, ignore_errors=True)
    return marker.read_text().strip()


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=1,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        pad_token="<pad>",  # noqa: S106  # a token of text, not of access
        eos_token="</s>",  # noqa: S106  # as above
        unk_token="<unk>",  # noqa: S106  # as above
    )


def _build() -> Any:
    import torch
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    text_encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=VOCABULARY,
            d_model=TEXT_WIDTH,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    transformer = WanTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=24,
        in_channels=LATENTS,
        out_channels=LATENTS,
        text_dim=TEXT_WIDTH,
        freq_dim=64,
        ffn_dim=256,
        num_layers=4,
        rope_max_seq_len=256,
    )
    vae = AutoencoderKLWan(
        base_dim=16,
        z_dim=LATENTS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * LATENTS,
        latents_std=[1.0] * LATENTS,
    )
    return WanPipeline(
        tokenizer=_tokenizer(),
        text_encoder=text_encoder.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=transformer.eval(),
    )
