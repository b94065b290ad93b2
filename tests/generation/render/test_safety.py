"""The operator's classifier: a real one, through the real child, on real frames."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.jobs import RenderResult
from generation.models.config import ModelError
from generation.models.inventory import describe
from generation.models.registry import load_models
from generation.render.memory import NoPipelineError
from generation.render.safety import load_classifier
from generation.render_messages import RenderRequest
from generation.worker.render_process import RenderChild, RenderError, environment_of
from tests.generation.conftest import MODELS
from tests.generation.render.red_guard import make


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {"source": str(folder), "revision": None, "labels": {"red": 0.5}, "frames": 4, "device": "cpu", **more}


def clip(*colours: tuple[int, int, int]) -> Any:
    return np.stack([np.full((48, 64, 3), colour, np.uint8) for colour in colours])


RED, GREY, BLUE, WHITE = (220, 10, 10), (128, 128, 128), (10, 10, 220), (255, 255, 255)


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("guard") / "red-guard")


def test_one_red_frame_flags_a_video(guard: Path) -> None:
    """The highest score counts, and says in which frame; other colours flag nothing."""
    classifier = load_classifier(settings(guard))
    found = classifier.look_at(clip(GREY, BLUE, RED, WHITE))
    assert found.frames == 4
    assert [(flag.label, flag.frame) for flag in found.flagged] == [("red", 2)]
    assert found.flagged[0].score > 0.99
    assert found.classifier.startswith("red-guard@")
    assert classifier.look_at(clip(GREY, BLUE, WHITE, BLUE)).flagged == []


def test_frames_are_sampled_over_the_whole_clip(guard: Path) -> None:
    """The last frame is among them; a clip of fewer frames is looked at whole."""
    classifier = load_classifier(settings(guard))
    assert classifier.look_at(clip(*[BLUE] * 99, RED)).flagged[0].frame == 99
    assert classifier.look_at(clip(RED)).frames == 1


def test_the_threshold_decides(guard: Path) -> None:
    score = load_classifier(settings(guard)).look_at(clip(RED)).flagged[0].score
    assert load_classifier(settings(guard, labels={"red": min(1.0, score + 1e-6)})).look_at(clip(BLUE)).flagged == []
    assert load_classifier(settings(guard, labels={"plain": 0.5})).look_at(clip(RED)).flagged == []


def test_what_cannot_be_loaded_is_said(tmp_path: Path, guard: Path) -> None:
    with pytest.raises(NoPipelineError, match="nothing is rendered without it"):
        load_classifier(settings(tmp_path))
    with pytest.raises(NoPipelineError, match="no label 'nsfw'; it has plain, red"):
        load_classifier(settings(guard, labels={"nsfw": 0.5}))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('source = "a/b"\nlabels = {x = 0.5}', "needs a revision"),
        ('source = "a/b"\nrevision = "main"\nlabels = {x = 0.5}', "is no commit"),
        ('source = "."\nlabels = {}', "needs labels"),
        ('source = "."\nlabels = {x = 2}', "not a score"),
        ('source = "."\nlabels = {x = 0.5}\nframes = 0', "from 1 to 64"),
        ('source = "."\nlabels = {x = 0.5}\ndevice = "tpu"', "use cpu"),
        ('source = "."\nlabels = {x = 0.5}\nthreshold = 1', "unknown setting 'threshold'"),
    ],
)
def test_a_wrong_table_is_answered_with_a_sentence(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "models.toml").write_text(f"[classifier]\n{table}\n")
    with pytest.raises(ModelError, match=said):
        load_models(tmp_path, tmp_path / "models.toml")


def test_a_classifier_of_a_repository_is_fetched_beside_a_local_model(guard: Path, tmp_path: Path) -> None:
    """The child of a model in a folder asks no hub, unless what looks at its videos is to come from one."""
    tables = {"away": f'source = "org/guard"\nrevision = "{"1" * 40}"', "here": f'source = "{guard}"'}
    models = {}
    for name, table in tables.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(f"[classifier]\n{table}\nlabels = {{ red = 0.9 }}\n{MODELS}")
        models[name] = load_models(tmp_path, path)["quick"]
    assert not models["away"].is_local
    assert "HF_HUB_OFFLINE" not in environment_of(models["away"], {})
    assert models["here"].is_local
    assert environment_of(models["here"], {})["HF_HUB_OFFLINE"] == "1"
    assert describe(models["away"])["page"] is None  # the model itself has none


async def test_it_looks_in_the_render_child(data_dir: Path, tmp_path: Path) -> None:
    """Findings come with the result, and cross to the bot as JSON. The twin finds nothing, and has looked."""
    for name, bias, flags in (("suspicious", 50.0, ["red"]), ("calm", -50.0, [])):
        folder = make(tmp_path / name, bias=bias)
        models = tmp_path / f"{name}.toml"
        models.write_text(f'[classifier]\nsource = "{folder}"\nlabels = {{ red = 0.9 }}\nframes = 3\n{MODELS}')
        child = RenderChild(load_models(data_dir, models)["quick"], hang_s=60)
        job = {"video_path": str(tmp_path / f"{name}.mp4"), "poster_path": str(tmp_path / f"{name}.jpg")}
        try:
            facts = await child.render(RenderRequest("a red circle", 1, **job))
        finally:
            await child.close()
        values = {name: value for name, value in asdict(facts).items() if name != "measured"}
        result = RenderResult(**job, machine="m", **values)
        assert result.findings is not None
        assert [one["label"] for one in values["findings"]["flagged"]] == flags
        assert result.findings["frames"] == 3
        sent = json.loads(json.dumps(result.to_json()))
        sent.pop("outcome")
        assert RenderResult(**sent) == result


async def test_a_worker_does_not_render_without_it(data_dir: Path, tmp_path: Path) -> None:
    """A classifier that cannot be loaded is an error of kind load."""
    (tmp_path / "empty").mkdir()
    models = tmp_path / "models.toml"
    models.write_text(f'[classifier]\nsource = "{tmp_path / "empty"}"\nlabels = {{ red = 0.9 }}\n')
    child = RenderChild(load_models(data_dir, models)["tiny"], hang_s=60)
    with pytest.raises(RenderError, match="nothing is rendered without it") as caught:
        await child.warm()
    assert caught.value.kind == "load"
    await child.close()


def test_a_result_without_findings_is_as_before() -> None:
    """Results of earlier releases are read, and what is sent without a classifier is what they sent."""
    old = {
        "video_path": "v", "poster_path": "p", "sha256": "s", "size_bytes": 1, "width": 2, "height": 2, "fps": 8.0,
        "frames": 5, "seconds": 1.0, "model_id": "tiny", "model_revision": "r", "machine": "m",
    }  # fmt: skip
    assert RenderResult(**old).to_json() == {"outcome": "done", **old}
