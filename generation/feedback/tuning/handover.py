"""The hand-over of a big model to SimpleTuner: a folder with the liked videos, its settings, and the command.

SimpleTuner (AGPL) runs in its own process and environment, and nothing here imports it. It learns from the best videos
alone (SFT), since it knows no scores: weaker than the methods of `tune`, and the same adapter file in the end.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np

from generation.feedback.scoring.scores import best_of, centred, thumb_scores
from generation.feedback.tuning.examples import VIDEOS, Example, groups_of
from generation.feedback.tuning.recipe import Recipe
from generation.models.presets import Preset
from generation.models.registry import Model

# The families of SimpleTuner's own documentation, by the pipeline's class.
FAMILIES = {"WanPipeline": "wan", "LTXPipeline": "ltxvideo"}
COMMAND = "pip install 'simpletuner[cuda]' && simpletuner train"

README = """# A hand-over to SimpleTuner

{count} liked videos of {model}, out of {of}, as a data set for https://github.com/bghira/SimpleTuner.
Install it into an environment of its own: it has other versions of the same libraries, and another license (AGPL-3.0).
On a machine with a GPU, in this folder:

    python3 -m venv .simpletuner && . .simpletuner/bin/activate
    {command}

It writes `output/pytorch_lora_weights.safetensors`. Give that file to FLock as any other candidate: it is checked
before anything renders with it, and must win its battle.

SimpleTuner learns from these videos as they are (SFT); of the votes it knows nothing beside which videos are here.
"""


class HandoverError(Exception):
    """There is nothing that could be handed over; the message is a sentence."""


def write_handover(
    folder: Path, pipeline_class: str, model: Model, preset: Preset, examples: list[Example], data: Path, recipe: Recipe
) -> int:
    """Write the folder; return the number of videos in it. Raises HandoverError, OSError.

    The data set holds the videos as `videos/ID.mp4`.
    """
    family = FAMILIES.get(pipeline_class)
    if family is None:
        raise HandoverError(f"{pipeline_class} cannot be handed over; {', '.join(sorted(FAMILIES))} can.")
    if folder.exists() and any(folder.iterdir()):
        raise HandoverError(f"{folder} is not empty. Name a new folder.")
    chosen = _liked(examples, recipe.best_share)
    missing = [example.video for example in chosen if not (data / VIDEOS / f"{example.video}.mp4").is_file()]
    if missing:
        raise HandoverError(
            f"{data / VIDEOS} lacks {len(missing)} of {len(chosen)} videos, such as {missing[0]}.mp4. "
            "Put the originals there; flock rerender makes them again."
        )
    videos = folder / "datasets" / "videos"
    videos.mkdir(parents=True)
    for example in chosen:
        shutil.copyfile(data / VIDEOS / f"{example.video}.mp4", videos / f"{example.video}.mp4")
        caption = re.sub(r"\s+", " ", example.prompt).strip()
        (videos / f"{example.video}.txt").write_text(caption + "\n", encoding="utf-8")
    (folder / "config").mkdir()
    _write_json(folder / "config" / "config.json", _config(family, model, preset, recipe))
    _write_json(folder / "config" / "multidatabackend.json", _backends(preset))
    text = README.format(count=len(chosen), of=len(examples), model=model.id, command=COMMAND)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return len(chosen)


def _liked(examples: list[Example], share: float) -> list[Example]:
    """Return the best share by thumbs less the prompt's mean."""
    groups = np.array(groups_of(examples))
    up, down = (np.array([getattr(example, name) for example in examples], np.float64) for name in ("up", "down"))
    scores = centred(thumb_scores(up, down), groups)
    return [examples[place] for place in best_of(scores, share)]


def _config(family: str, model: Model, preset: Preset, recipe: Recipe) -> dict[str, object]:
    """Return the settings of SimpleTuner's config.json."""
    return {
        "model_type": "lora",
        "model_family": family,
        "pretrained_model_name_or_path": model.source,
        **({} if model.revision is None else {"revision": model.revision}),
        "output_dir": "output",
        "data_backend_config": "config/multidatabackend.json",
        "lora_rank": recipe.rank,
        "lora_alpha": recipe.rank,  # another one is lost where a file says nothing of it
        "train_batch_size": 1,
        "gradient_accumulation_steps": recipe.batch,
        "gradient_checkpointing": True,
        "max_train_steps": recipe.steps,
        "learning_rate": 1e-4,
        "lr_scheduler": "constant_with_warmup",
        "lr_warmup_steps": recipe.warm_up,
        "optimizer": "adamw_bf16",
        "mixed_precision": "bf16",
        "seed": recipe.seed,
        "validation_disable": True,
        "report_to": "none",
        "resolution": min(preset.width, preset.height),
        "resolution_type": "pixel",
    }


def _backends(preset: Preset) -> list[dict[str, object]]:
    """Return the settings of SimpleTuner's data sets: the videos, and the cache of their captions."""
    return [
        {
            "id": "liked-videos",
            "type": "local",
            "dataset_type": "video",
            "instance_data_dir": "datasets/videos",
            "caption_strategy": "textfile",
            "resolution": min(preset.width, preset.height),
            "resolution_type": "pixel",
            "cache_dir_vae": "cache/vae",
            "video": {"num_frames": preset.frames, "min_frames": preset.frames, "frame_rate": preset.fps},
        },
        {
            "id": "captions",
            "type": "local",
            "dataset_type": "text_embeds",
            "default": True,
            "cache_dir": "cache/text",
        },
    ]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
