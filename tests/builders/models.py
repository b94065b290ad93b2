"""A model on disk, as far as it is looked at without loading it."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def a_model(folder: Path, *tensors: str, cut: int = 0) -> str:
    """A folder with one component of those tensors, and the models file that names it."""
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in tensors}
    head = json.dumps(header).encode()
    (folder / "vae").mkdir(parents=True, exist_ok=True)
    index = {"_class_name": "WanPipeline", "vae": ["diffusers", "AutoencoderKLWan"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "vae" / "config.json").write_text("{}")
    data = struct.pack("<Q", len(head)) + head + bytes(4 - cut)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(data)
    return f'[models.mine]\nsource = "{folder}"\n'
