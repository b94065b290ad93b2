"""`flock demo`: sets the house up, has the story told, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.demo.discord.people import Community
from bot.demo.house import House
from bot.demo.story import PROMPTS, Story
from bot.demo.supervisor import Supervisor
from bot.demo.teller import Teller


def run_demo(
    *, prompts: Sequence[str] | None, once: bool, as_json: bool, state: Path | None, database_url: str | None
) -> int:
    """The whole demo; 0 when the story was told to its end. Raises OperatorError with a sentence otherwise."""
    temporary = state is None
    folder = Path(tempfile.mkdtemp(prefix="flock-demo-")) if state is None else state.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    teller = Teller()
    try:
        result = asyncio.run(_demo(folder, list(prompts or PROMPTS), once, as_json, database_url, teller))
    except BaseException:
        if temporary:
            teller.say("", f"What was made is kept in {folder}, with the logs.")
        raise
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    return 0


async def _demo(
    folder: Path, prompts: list[str], once: bool, as_json: bool, database_url: str | None, teller: Teller
) -> dict[str, Any]:
    supervisor = Supervisor(folder, on_death=lambda name: teller.say("demo", f"the {name} died and is started again"))
    house = House(folder, supervisor, database_url)
    main = asyncio.current_task()
    with contextlib.suppress(ValueError, RuntimeError):  # SIGTERM ends us as Ctrl-C does: in order
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: main.cancel() if main else None)
    try:
        teller.heading("FLock demo: everything runs on this machine")
        await house.open_services()
        teller.say("demo", "embedded Discord, video host and chain are up (a dev chain: not immutable)")
        await house.open_bot_and_worker()
        async with Community(house.discord_url, house.keys.control_token) as community:
            result = await Story(house, community, teller, prompts).tell()
        teller.table(result)
        teller.say("demo", "The tiny model is not trained yet: its videos are patterns that differ by prompt and seed.")
        teller.say("demo", f"Everything is in {folder}")
        if not once and not as_json and sys.stderr.isatty():
            teller.say("demo", "The videos' pages stay up until you press Ctrl-C.")
            await asyncio.Event().wait()
        return result
    finally:
        await supervisor.stop()
