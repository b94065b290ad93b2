"""One check, made within its time, so that it neither delays nor hides the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import discord
import httpx
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import OperatorError
from bot.settings import Settings
from contracts.rpc.node import LedgerError
from generation.extras import MissingExtraError
from generation.hosting.host import HostError

T = TypeVar("T")

TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Check:
    """The result of a look at one thing; `remedy` is empty where all is well."""

    ok: bool
    name: str
    detail: str
    remedy: str = ""
    answered: bool = True  # False where the thing itself gave no answer that could be judged

    def as_json(self) -> dict[str, object]:
        """Return the check as `flock doctor --json` prints it."""
        return {"ok": self.ok, "what": self.name, "detail": self.detail, "remedy": self.remedy}


@dataclass(frozen=True)
class Look:
    """A look at one thing, which gives one check or more. `remedy` is for a thing that does not even answer.

    Without the settings in `needs` there is nothing to look at, and with a wrong value of those in `reads` the look
    would be at something else: the check of the settings reports both.
    """

    name: str
    look: Callable[[Settings], Awaitable[Sequence[Check]]]
    remedy: str
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    time_factor: float = 1.0  # of the time that other looks have
    rests_on: tuple[str, ...] = ()  # looks at what this one needs; where one of them fails, it alone is reported

    async def checks(self, settings: Settings, timeout: float = TIMEOUT_S) -> list[Check]:
        """Look, and return the checks; an error on the way is a check that failed."""
        if not all(getattr(settings, name) for name in self.needs):
            return []
        timeout *= self.time_factor
        remedy = self.remedy
        try:
            async with asyncio.timeout(timeout):
                return list(await self.look(settings))
        except TimeoutError:
            problem = f"no answer within {timeout:.0f} s"
        except MissingExtraError as error:
            problem, remedy = error.problem, error.remedy
        except (OperatorError, LedgerError, HostError, ValueError) as error:  # their texts are sentences
            problem = str(error)
        except (httpx.HTTPError, aiohttp.ClientError, discord.DiscordException, SQLAlchemyError, OSError) as error:
            problem = f"it cannot be reached ({type(error).__name__})"  # their texts may quote an address
        except Exception as error:
            problem = f"the check itself failed ({type(error).__name__})"
        return [Check(False, self.name, problem, remedy, answered=False)]


async def in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function; unlike an executor's, its thread does not delay the end of the process when it hangs."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not outcome.done():  # it is when nobody waits any more
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)  # type: ignore[arg-type]  # there is a result where there is no error

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except BaseException as error:  # the waiting caller gets it
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True, name="check").start()
    return await outcome
