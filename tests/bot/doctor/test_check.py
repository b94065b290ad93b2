"""One check: made in its time, and never with words that may quote a secret."""

from __future__ import annotations

import asyncio
import threading

import pytest
from pydantic import SecretStr

from bot.doctor.check import Check, Look, in_thread
from bot.doctor.report import look_at
from bot.domain.errors import OperatorError
from bot.settings import Settings


async def test_a_check_that_fails_by_itself_is_a_failed_check() -> None:
    """A mistake of ours in one check is told as such, without its words, which may quote anything."""

    async def broken(_settings: Settings) -> list[Check]:
        raise RuntimeError("with a secret in it")

    async def fine(_settings: Settings) -> list[Check]:
        return [Check(True, "fine", "all is well")]

    looks = [Look("broken", broken, "Tell us."), Look("fine", fine, "")]
    first, second = await look_at(Settings(_env_file=None), looks)
    assert not first.ok
    assert "RuntimeError" in first.detail
    assert "secret" not in first.detail
    assert second.ok


async def test_without_its_settings_there_is_nothing_to_look_at() -> None:
    """That they are missing is told by the check of the settings."""

    async def fine(_settings: Settings) -> list[Check]:
        return [Check(True, "fine", "all is well")]

    look = Look("fine", fine, "", needs=("discord_token",))
    assert await look.checks(Settings(_env_file=None)) == []
    assert len(await look.checks(Settings(_env_file=None, discord_token=SecretStr("x")))) == 1


async def test_a_look_that_takes_too_long_is_ended() -> None:
    """In the time of its own factor; its remedy is told."""

    async def slow(_settings: Settings) -> list[Check]:
        await asyncio.sleep(60)
        return []

    [check] = await Look("slow", slow, "Wait.", time_factor=2).checks(Settings(_env_file=None), 0.05)
    assert (check.ok, check.remedy) == (False, "Wait.")
    assert "no answer within" in check.detail


async def test_a_blocking_function_runs_beside_the_loop() -> None:
    """Its result or its error comes back; a wait for it can be given up while it hangs."""
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)
    release = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await in_thread(release.wait)
    release.set()


async def test_a_cause_is_told_once() -> None:
    """What rests on a thing that does not answer says nothing of its own; what fails by itself does."""

    async def away(_settings: Settings) -> list[Check]:
        raise OperatorError("The node does not answer.")

    async def other(_settings: Settings) -> list[Check]:
        raise OperatorError("The key is broken.")

    async def judged(_settings: Settings) -> list[Check]:
        return [Check(False, "judged", "too little coin", "Send some.")]

    settings = Settings(_env_file=None)
    looks = [Look("ledger", away, "Look."), Look("relayer", away, "Look.", rests_on=("ledger",))]
    assert [check.name for check in await look_at(settings, looks)] == ["ledger"]
    looks = [Look("ledger", away, "Look."), Look("judged", judged, "", rests_on=("ledger",))]
    assert [check.name for check in await look_at(settings, looks)] == ["ledger", "judged"]
    looks = [Look("judged", judged, "Look."), Look("relayer", other, "Look.", rests_on=("judged",))]
    assert [check.name for check in await look_at(settings, looks)] == ["judged", "relayer"]
    looks = [Look("ledger", away, "Look."), Look("relayer", away, "Look.")]
    assert [check.name for check in await look_at(settings, looks)] == ["ledger", "relayer"]
