"""The checks of a GPU worker's machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.doctor.report import examine
from tests.bot.conftest import Told
from tests.builders.doctor import set_up
from tests.builders.models import a_model

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_workers_machine(told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Libraries, GPU, model and database are looked at; no key is asked for. A wrong model is told."""
    set_up(monkeypatch, told.stack.worker_env)
    found = {check.name: check for check in await examine(worker=True)}
    assert {name: check.detail for name, check in found.items() if not check.ok and name != "GPU"} == {}
    assert "torch" in found["libraries"].detail
    assert "tiny" in found["model"].detail
    assert found["keys"].detail.startswith("none")
    assert "nobody vouches" in found["signature"].detail
    assert not {"Discord", "ledger", "video host"} & set(found)

    models = tmp_path / "models.toml"
    models.write_text('[models.mine]\nsource = "/nowhere/at/all"\n')
    bad = {"FLOCK_MODELS_FILE": str(models), "FLOCK_MODEL_ID": "mine", "FLOCK_DISCORD_TOKEN": "x" * 40}
    set_up(monkeypatch, bad)
    found = {check.name: check for check in await examine(worker=True)}
    assert not found["model"].ok
    assert "FLOCK_DISCORD_TOKEN" in found["keys"].detail
    assert "needs a revision" in found["model"].detail
    key = tmp_path / "key.pem"
    key.write_text("no key")
    key.chmod(0o644)
    for name, value in {"FLOCK_C2PA_CERT": key, "FLOCK_C2PA_KEY": key}.items():
        monkeypatch.setenv(name, str(value))
    for wanted in ("can be read by others", "no PEM file"):
        found = {check.name: check for check in await examine(worker=True)}
        assert not found["signature"].ok
        assert wanted in found["signature"].detail
        key.chmod(0o600)
    for name, value in {"a.scale_weight": False, "a.weight": True}.items():
        models.write_text(a_model(tmp_path / "model", name))
        found = {check.name: check for check in await examine(worker=True)}
        assert found["model"].ok is value
        assert ("vae: its weights have scales" in found["model"].detail) is not value
    models.write_text("[models.tiny]\nsteps = 4\n")
    monkeypatch.setenv("FLOCK_MODEL_ID", "of-nobody")
    found = {check.name: check for check in await examine(worker=True)}
    assert "no model" in found["model"].detail
