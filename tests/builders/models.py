"""Models on disk, as far as they are looked at without loading them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

INDEX = {
    "_class_name": "CogVideoXPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLCogVideoX"],
    "image_encoder": [None, None],
}


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


def header_of_weights(path: Path, *shape: int, name: str = "w") -> None:
    """A safetensors file that is all header, as if its weights were there."""
    header = json.dumps({"__metadata__": {}, name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def a_pipeline(folder: Path) -> Path:
    """A whole pipeline of CogVideoX 1.5, in shards and in two precisions, all headers."""
    for name in ("scheduler", "transformer", "vae"):
        (folder / name).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    (folder / "transformer" / "config.json").write_text('{"patch_size_t": 2}')
    shards = {"weight_map": {"a": "d-1-of-2.safetensors", "b": "d-2-of-2.safetensors"}}
    (folder / "transformer" / "d.safetensors.index.json").write_text(json.dumps(shards))
    header_of_weights(folder / "transformer" / "d-1-of-2.safetensors", 1024, 1024, name="a")
    header_of_weights(folder / "transformer" / "d-2-of-2.safetensors", 1024, 1024, 3, name="b")
    (folder / "vae" / "config.json").write_text("{}")
    header_of_weights(folder / "vae" / "d.safetensors", 1024, 1024)
    header_of_weights(folder / "vae" / "d.fp16.safetensors", 1024, 1024)
    return folder
