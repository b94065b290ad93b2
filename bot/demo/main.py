"""`flock demo`: starts the stack, tells the story, shows the page, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
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
    """The options of the command line. With `once` the demo ends after the story; else it stays up for visitors."""

    prompts: Sequence[str] | None = None
    once: bool = False
    as_json: bool = False
    state: Path | None = None
    database_url: str | None = None
    keep: bool = False  # what is in the temporary folder, which is removed at the end otherwise
    page: tuple[str, int] | None = None  # where the page listens, if not on loopback
    chaos: int | None = None  # a seed: after the story a crowd stays active while things break


def run_demo(options: DemoOptions) -> int:
    """Run the demo. Returns 0 when the story was told to its end. Raises OperatorError with a sentence otherwise."""
    if options.once and options.chaos is not None:
        raise OperatorError("Chaos begins after the story: leave --once out, and end it with Ctrl-C.")
    temporary = options.state is None
    keep = not temporary or options.keep
    folder = Path(tempfile.mkdtemp(prefix="flock-demo-")) if options.state is None else options.state.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    terminal = Terminal()
    try:
        asyncio.run(_demo(folder, options, terminal))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # SIGTERM ends the demo as Ctrl-C does
    except OperatorError:
        keep = True
        if temporary:
            terminal.say("", f"Everything that was made is kept in {folder}, with the logs.")
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


async def _demo(folder: Path, options: DemoOptions, terminal: Terminal) -> None:
    began = time.monotonic()
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
            async with _page(stack, options.page) as page:
                await stack.open_services()
                page.show_discord(stack.discord_url, stack.keys.control_token)
                await _tell_and_stay(stack, options, terminal, page, began)
    finally:
        await supervisor.stop()


async def _tell(
    stack: Stack, options: DemoOptions, terminal: Terminal, on_first_video: Callable[[], None] | None = None
) -> None:
    """Start bot and worker, tell the story, and print its result."""
    terminal.say("demo", "embedded Discord, video host and chain are running (a dev chain: not immutable)")
    await stack.open_bot_and_worker()
    async with Community(stack.discord_url, stack.keys.control_token) as community:
        story = Story(stack, community, terminal, list(options.prompts or PROMPTS), on_first_video=on_first_video)
        result = await story.tell()
    terminal.table(result)
    terminal.say(
        "demo", "The tiny model knows only shapes, colours and motions; it ignores everything else in a prompt."
    )
    until = "" if options.state or options.keep else " until the demo ends; --keep keeps it"
    terminal.say("demo", f"Everything is in {stack.state}{until}")
    if options.as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


async def _tell_and_stay(stack: Stack, options: DemoOptions, terminal: Terminal, page: Page, began: float) -> None:
    """Tell the story, and then open a round for visitors. A visitor may upset the story, but not end the demo.

    The page's link is printed once: when the first video can be seen, or at the latest when visitors have their round.
    """
    link = _Once(partial(terminal.link, page.link))
    try:
        await _tell(stack, options, terminal, link)
    except OperatorError as error:
        terminal.say("demo", str(error))
    async with Community(stack.discord_url, stack.keys.control_token) as community:
        await Story(stack, community, terminal, []).open_a_round_for_visitors()
        link()
        terminal.say("demo", "Be a member yourself: open the link ▶. Ctrl-C ends everything.")
        terminal.say("demo", f"You can join {time.monotonic() - began:.0f} s after the start.")
        if options.chaos is None:
            await asyncio.Event().wait()
            return
        terminal.say(
            "chaos", f"Things break from now on (seed {options.chaos}), and members carry on. See docs/chaos.md."
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Crowd(stack, community, terminal, seed=options.chaos).run())
            tasks.create_task(Chaos.of(stack, partial(terminal.say, "chaos"), seed=options.chaos).run())


class _Once:
    """Calls a function the first time, and never again."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


@asynccontextmanager
async def _page(stack: Stack, where: tuple[str, int] | None) -> AsyncIterator[Page]:
    """Serve the page, from the first second on."""
    panel = Panel(stack)
    page = Page(stack.keys.page_token, panel.look)
    try:
        await (page.start(where[1], where[0]) if where else page.start(stack.keys.page_port))
    except OSError as error:
        raise OperatorError(f"The page cannot listen there: {error.strerror}.") from error
    try:
        stack.save_keys(replace(stack.keys, page_port=page.port))
        yield page
    finally:
        await page.close()
        await panel.close()
