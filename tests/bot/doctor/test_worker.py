"""The checks of a GPU worker's machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.doctor import worker
from bot.doctor.check import Check
from bot.doctor.report import examine, look_at
from bot.settings import read_settings
from tests.bot.conftest import Told
from tests.builders.doctor import set_up
from tests.builders.models import a_model

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def look(*names: str) -> dict[str, Check]:
    """Return the checks of a few looks at a worker's machine, with the settings of the environment.

    Of all looks that at the libraries takes by far the longest: it starts a process that imports torch.
    """
    looks = [look for look in worker.LOOKS if look.name in names]
    assert {look.name for look in looks} == set(names)
    return {check.name: check for check in await look_at(read_settings().settings, looks)}


async def test_a_workers_machine(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries, GPU, model and database are looked at; no key is asked for."""
    set_up(monkeypatch, told.stack.worker_env)
    found = {check.name: check for check in await examine(worker=True)}
    assert {name: check.detail for name, check in found.items() if not check.ok and name != "GPU"} == {}
    assert "torch" in found["libraries"].detail
    assert "tiny" in found["model"].detail
    assert found["keys"].detail.startswith("none")
    assert "nobody vouches" in found["signature"].detail
    assert not {"Discord", "ledger", "video host"} & set(found)


async def test_a_wrong_model_is_told(told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So is a key that the machine need not have, beside all other looks; then each fault of a model by itself."""
    set_up(monkeypatch, told.stack.worker_env)
    models = tmp_path / "models.toml"
    models.write_text('[models.mine]\nsource = "/nowhere/at/all"\n')
    bad = {"FLOCK_MODELS_FILE": str(models), "FLOCK_MODEL_ID": "mine", "FLOCK_DISCORD_TOKEN": "x" * 40}
    set_up(monkeypatch, bad)
    found = {check.name: check for check in await examine(worker=True)}
    assert not found["model"].ok
    assert "FLOCK_DISCORD_TOKEN" in found["keys"].detail
    assert "needs a revision" in found["model"].detail
    for name, value in {"a.scale_weight": False, "a.weight": True}.items():
        models.write_text(a_model(tmp_path / "model", name))
        found = await look("model")
        assert found["model"].ok is value
        assert ("vae: its weights have scales" in found["model"].detail) is not value
    models.write_text("[models.tiny]\nsteps = 4\n")
    monkeypatch.setenv("FLOCK_MODEL_ID", "of-nobody")
    assert "no model" in (await look("model"))["model"].detail


async def test_a_key_that_cannot_sign_is_told(told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Others can read it; when they cannot, it is no key at all."""
    set_up(monkeypatch, told.stack.worker_env)
    key = tmp_path / "key.pem"
    key.write_text("no key")
    key.chmod(0o644)
    for name, value in {"FLOCK_C2PA_CERT": key, "FLOCK_C2PA_KEY": key}.items():
        monkeypatch.setenv(name, str(value))
    for wanted in ("can be read by others", "no PEM file"):
        found = await look("signature")
        assert not found["signature"].ok
        assert wanted in found["signature"].detail
        key.chmod(0o600)
