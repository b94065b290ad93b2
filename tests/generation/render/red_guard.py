"""A real image classifier of a few numbers, set by hand: it flags pictures that are red."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil


def make(folder: Path, *, bias: float = -10.0) -> Path:
    """Saves it as transformers save models. The score of `red` is a sigmoid of 40 (R - (G + B) / 2) + `bias`."""
    config = ResNetConfig(
        embedding_size=3,
        hidden_sizes=[3],
        depths=[1],
        layer_type="basic",
        id2label={0: "plain", 1: "red"},
        label2id={"plain": 0, "red": 1},
    )
    model = ResNetForImageClassification(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.zero_()
            if name.endswith("normalization.weight"):
                value.fill_(1.0)
        model.resnet.embedder.embedder.convolution.weight[range(3), range(3), 3, 3] = 1.0  # each colour as it is
        head = model.classifier[1]
        head.weight[1] = torch.tensor([40.0, -20.0, -20.0])
        head.bias[1] = bias
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}, do_normalize=False).save_pretrained(folder)
    return folder
