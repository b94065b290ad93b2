"""One check, and how it is made: within its time, and without holding up or hiding the others."""

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
    """One thing that was looked at; `remedy` is empty where all is well."""

    ok: bool
    what: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Look:
    """How something is looked at. `remedy` is what to do when it does not even answer.

    Without the settings that `needs` names there is nothing to look at: that they are missing is told elsewhere.
    """

    what: str
    look: Callable[[Settings], Awaitable[Sequence[Check]]]
    remedy: str
    needs: tuple[str, ...] = ()
    patience: float = 1.0  # how many times as long as the others it may take

    async def make(self, settings: Settings, timeout: float = TIMEOUT_S) -> list[Check]:
        """The checks; whatever goes wrong on the way is one that failed."""
        if not all(getattr(settings, name) for name in self.needs):
            return []
        timeout *= self.patience
        remedy = self.remedy
        try:
            async with asyncio.timeout(timeout):
                return list(await self.look(settings))
        except TimeoutError:
            problem = f"no answer within {timeout:.0f} s"
        except MissingExtraError as error:
            problem, remedy = error.problem, error.remedy
        except (OperatorError, LedgerError, HostError, ValueError) as error:  # these speak in sentences
            problem = str(error)
        except (httpx.HTTPError, aiohttp.ClientError, discord.DiscordException, SQLAlchemyError, OSError) as error:
            problem = f"it cannot be reached ({type(error).__name__})"  # their words may quote an address
        except Exception as error:
            problem = f"the check itself failed ({type(error).__name__})"
        return [Check(False, self.what, problem, remedy)]


async def in_thread(function: Callable[[], T]) -> T:
    """Runs what blocks; unlike an executor's, its thread does not hold up our end when it hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not done.done():  # nobody waits any more
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]  # there is a result where there is no error

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except BaseException as error:  # handed to who waits
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True, name="check").start()
    return await done
