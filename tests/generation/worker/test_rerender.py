"""A video rendered again from its card, by the real pipeline."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import av
import pytest

from bot.cli.rerender import rerender_card
from bot.domain.errors import OperatorError
from bot.settings import Settings
from generation.models.registry import choose, load_models
from generation.render_messages import RenderRequest
from generation.video.latents import read_latents
from generation.video.provenance import FORMAT
from generation.worker.render_process import RenderChild
from generation.worker.rerender import MOST

MODELS = """
[models.quick]
source = "tiny"
width = 96
height = 96
frames = 5
steps = 2
"""


async def card_of(data_dir: Path, models_file: Path) -> str:
    child = RenderChild(choose(load_models(data_dir, models_file), "quick"))
    video = data_dir / "videos" / "1.mp4"
    request = RenderRequest("a red circle", 7, str(video), f"{video}.jpg")
    try:
        return json.dumps((await child.render(request)).provenance)
    finally:
        await child.close()


def test_the_same_card_gives_the_same_frames(data_dir: Path, tmp_path: Path) -> None:
    """Bit by bit on this machine; another seed gives others; a model that is not here is said."""
    models = tmp_path / "models.toml"
    models.write_text(MODELS)
    path = tmp_path / "card.json"
    path.write_text(asyncio.run(card_of(data_dir, models)))
    models.write_text(MODELS.replace("steps = 2", "steps = 3"))  # the card's settings count, not today's
    settings = Settings(data_dir=data_dir, models_file=models, _env_file=None)
    latents = tmp_path / "again.safetensors"
    same, text = rerender_card(settings, path, tmp_path / "again.mp4", latents)
    assert same, text
    assert text.startswith("The frames are the same")
    assert "The final latents are the same, bit by bit." in text
    assert read_latents(latents, json.loads(path.read_text())["latents"]["sha256"]) is not None
    assert "dtype" not in text
    with av.open(str(tmp_path / "again.mp4")) as container:
        assert len(list(container.decode(video=0))) == 9
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "seed": 8}))
    same, text = rerender_card(settings, path, None, latents)
    assert not same
    assert text.startswith("The frames are not the same")
    assert "The final latents are not the same." in text
    assert read_latents(latents, card["latents"]["sha256"]) is None
    path.write_text(json.dumps({**card, "model": {**card["model"], "id": "wan"}}))
    with pytest.raises(OperatorError, match="wan"):
        rerender_card(settings, path, None)
    path.write_text(json.dumps({**card, "settings": {**card["settings"], "frames": 10**9}}))
    with pytest.raises(OperatorError, match="no usable frames"):
        rerender_card(settings, path, None)
    with pytest.raises(OperatorError, match="No such file"):
        rerender_card(settings, tmp_path / "none.json", None)


@pytest.mark.usefixtures("in_a_long_run")
def test_what_changes_pixels_is_on_the_card_and_in_force(data_dir: Path, tmp_path: Path) -> None:
    """Dtype, shift and tiling of the card count where this machine has others, and the frames are the same. A card
    of an older release says less: it is rendered as the model is here, and what it does not say is named."""
    models = tmp_path / "models.toml"
    models.write_text(MODELS + 'dtype = "bfloat16"\nshift = 7.0\nvae_tiling = true\n')
    path = tmp_path / "card.json"
    path.write_text(asyncio.run(card_of(data_dir, models)))
    card = json.loads(path.read_text())
    told = {name: card["settings"][name] for name in ("dtype", "shift", "vae_tiling", "cache", "scheduler")}
    assert told == {"dtype": "bfloat16", "shift": 7.0, "vae_tiling": True, "cache": None, "scheduler": None}
    models.write_text(MODELS + "shift = 2.0\n")
    settings = Settings(data_dir=data_dir, models_file=models, _env_file=None)
    same, text = rerender_card(settings, path, None)
    assert same, text
    assert "note" not in text
    old = {name: card["settings"][name] for name in ("steps", "guidance", "negative_prompt", *MOST, "device")}
    path.write_text(json.dumps({**card, "settings": {**old, "vae_float32": True}}))
    same, text = rerender_card(settings, path, None)
    assert not same
    assert "vae_float32 was True, and is False here." in text
    assert "older release" in text
    assert all(name in text.rpartition("note")[2] for name in ("shift", "dtype", "vae_tiling", "quantise"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtype", "int4"),
        ("vae_tiling", None),
        ("shift", "5"),
        ("attention", "flash_hub"),
        ("quantise_components", ["../x"]),
        ("guidance", 1e9),
        ("steps", True),
    ],
)
def test_a_card_with_strange_settings_is_refused(data_dir: Path, tmp_path: Path, name: str, value: object) -> None:
    """Before anything is loaded: a card may come from anywhere."""
    steps = {"width": 64, "height": 64, "frames": 9, "fps": 8, "steps": 2, "upscale": 1, "guidance": 1.0}
    card = {"format": FORMAT, "prompt": "p", "seed": 1, "frames_sha256": "0" * 64}
    card |= {"model": {"id": "tiny", "revision": "r"}, "settings": {**steps, name: value}}
    path = tmp_path / "card.json"
    path.write_text(json.dumps(card))
    with pytest.raises(OperatorError, match=f"This provenance card has .*{name}"):
        rerender_card(Settings(data_dir=data_dir, _env_file=None), path, None)
