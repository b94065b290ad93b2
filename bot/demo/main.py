"""`flock demo`: sets the house up, has the story told, shows the page, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bot.demo.chaos import Chaos
from bot.demo.crowd import Crowd
from bot.demo.discord.people import Community
from bot.demo.page.panel import Behind
from bot.demo.page.server import Page
from bot.demo.stack import House
from bot.demo.story import PROMPTS, Story
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Teller
from bot.domain.errors import OperatorError


@dataclass(frozen=True)
class DemoOptions:
    """What the command line says. With `once` the demo ends after the story, else it stays up for its visitors."""

    prompts: Sequence[str] | None = None
    once: bool = False
    as_json: bool = False
    state: Path | None = None
    database_url: str | None = None
    chaos: int | None = None  # a seed: after the story a crowd lives on while things break


def run_demo(options: DemoOptions) -> int:
    """The whole demo; 0 when the story was told to its end. Raises OperatorError with a sentence otherwise."""
    if options.once and options.chaos is not None:
        raise OperatorError("Chaos begins after the story: leave --once out, and end it with Ctrl-C.")
    temporary = options.state is None
    folder = Path(tempfile.mkdtemp(prefix="flock-demo-")) if options.state is None else options.state.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    teller = Teller()
    try:
        asyncio.run(_demo(folder, options, teller))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # SIGTERM ends us as Ctrl-C does
    except OperatorError:
        if temporary:
            teller.say("", f"What was made is kept in {folder}, with the logs.")
        raise
    return 0


async def _demo(folder: Path, options: DemoOptions, teller: Teller) -> None:
    supervisor = Supervisor(folder, on_death=partial(teller.say, "demo"))
    house = House(folder, supervisor, options.database_url)
    main = asyncio.current_task()
    with contextlib.suppress(ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: main.cancel() if main else None)
    try:
        teller.heading("FLock demo: everything runs on this machine")
        if options.once:
            await house.open_services()
            await _tell(house, options, teller)
        else:
            async with _page(house, teller) as page:
                await house.open_services()
                page.show_discord(house.discord_url, house.keys.control_token)
                await _tell_and_stay(house, options, teller, page)
    finally:
        await supervisor.stop()


async def _tell(house: House, options: DemoOptions, teller: Teller) -> None:
    """Bot and worker, the story, and what came of it."""
    teller.say("demo", "embedded Discord, video host and chain are up (a dev chain: not immutable)")
    await house.open_bot_and_worker()
    async with Community(house.discord_url, house.keys.control_token) as community:
        result = await Story(house, community, teller, list(options.prompts or PROMPTS)).tell()
    teller.table(result)
    teller.say("demo", "The tiny model knows shapes, colours and motions only; what else a prompt says is lost on it.")
    teller.say("demo", f"Everything is in {house.state}")
    if options.as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


async def _tell_and_stay(house: House, options: DemoOptions, teller: Teller, page: Page) -> None:
    """The story, and then a round of the visitors' own. A visitor may upset the story, but not end the demo."""
    try:
        await _tell(house, options, teller)
    except OperatorError as error:
        teller.say("demo", str(error))
    async with Community(house.discord_url, house.keys.control_token) as community:
        await Story(house, community, teller, []).open_a_round_for_visitors()
        teller.link(page.link)
        teller.say("demo", "Be a member yourself: open the link. Ctrl-C ends everything.")
        if options.chaos is None:
            await asyncio.Event().wait()
            return
        teller.say(
            "chaos", f"Things break from now on (seed {options.chaos}), and members go on. docs/chaos.md tells more."
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Crowd(house, community, teller, seed=options.chaos).run())
            tasks.create_task(Chaos.of(house, partial(teller.say, "chaos"), seed=options.chaos).run())


@asynccontextmanager
async def _page(house: House, teller: Teller) -> AsyncIterator[Page]:
    """The page, from the first second on."""
    behind = Behind(house)
    page = Page(house.keys.page_token, behind.look)
    await page.start(house.keys.page_port)
    try:
        house.remember(replace(house.keys, page_port=page.port))
        teller.link(page.link)
        yield page
    finally:
        await page.close()
        await behind.close()
