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
from bot.demo.page.panel import Panel
from bot.demo.page.server import Page
from bot.demo.stack import Stack
from bot.demo.story import PROMPTS, Story
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Terminal
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
    terminal = Terminal()
    try:
        asyncio.run(_demo(folder, options, terminal))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # SIGTERM ends us as Ctrl-C does
    except OperatorError:
        if temporary:
            terminal.say("", f"What was made is kept in {folder}, with the logs.")
        raise
    return 0


async def _demo(folder: Path, options: DemoOptions, terminal: Terminal) -> None:
    supervisor = Supervisor(folder, on_death=partial(terminal.say, "demo"))
    stack = Stack(folder, supervisor, options.database_url)
    main = asyncio.current_task()
    with contextlib.suppress(ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: main.cancel() if main else None)
    try:
        terminal.heading("FLock demo: everything runs on this machine")
        if options.once:
            await stack.open_services()
            await _tell(stack, options, terminal)
        else:
            async with _page(stack, terminal) as page:
                await stack.open_services()
                page.show_discord(stack.discord_url, stack.keys.control_token)
                await _tell_and_stay(stack, options, terminal, page)
    finally:
        await supervisor.stop()


async def _tell(stack: Stack, options: DemoOptions, terminal: Terminal) -> None:
    """Bot and worker, the story, and what came of it."""
    terminal.say("demo", "embedded Discord, video host and chain are up (a dev chain: not immutable)")
    await stack.open_bot_and_worker()
    async with Community(stack.discord_url, stack.keys.control_token) as community:
        result = await Story(stack, community, terminal, list(options.prompts or PROMPTS)).tell()
    terminal.table(result)
    terminal.say(
        "demo", "The tiny model knows shapes, colours and motions only; what else a prompt says is lost on it."
    )
    terminal.say("demo", f"Everything is in {stack.state}")
    if options.as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


async def _tell_and_stay(stack: Stack, options: DemoOptions, terminal: Terminal, page: Page) -> None:
    """The story, and then a round of the visitors' own. A visitor may upset the story, but not end the demo."""
    try:
        await _tell(stack, options, terminal)
    except OperatorError as error:
        terminal.say("demo", str(error))
    async with Community(stack.discord_url, stack.keys.control_token) as community:
        await Story(stack, community, terminal, []).open_a_round_for_visitors()
        terminal.link(page.link)
        terminal.say("demo", "Be a member yourself: open the link. Ctrl-C ends everything.")
        if options.chaos is None:
            await asyncio.Event().wait()
            return
        terminal.say(
            "chaos", f"Things break from now on (seed {options.chaos}), and members go on. docs/chaos.md tells more."
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Crowd(stack, community, terminal, seed=options.chaos).run())
            tasks.create_task(Chaos.of(stack, partial(terminal.say, "chaos"), seed=options.chaos).run())


@asynccontextmanager
async def _page(stack: Stack, terminal: Terminal) -> AsyncIterator[Page]:
    """The page, from the first second on."""
    panel = Panel(stack)
    page = Page(stack.keys.page_token, panel.look)
    await page.start(stack.keys.page_port)
    try:
        stack.remember(replace(stack.keys, page_port=page.port))
        terminal.link(page.link)
        yield page
    finally:
        await page.close()
        await panel.close()
