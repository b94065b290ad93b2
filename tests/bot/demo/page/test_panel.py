"""The facts of the panel while nothing runs; tests/acceptance/test_page.py looks at them in a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bot.demo.page.panel import Panel
from bot.demo.stack import Stack
from bot.demo.supervisor import Supervisor


async def test_parts_that_do_not_answer_are_none(tmp_path: Path) -> None:
    """No database, no ledger, no host: each is absent by itself, and nothing is an error."""
    stack = Stack(tmp_path, Supervisor(tmp_path))
    panel = Panel(stack)
    nothing = {"queue": None, "assets": [], "chain": None, "round": None, "learning": None}
    assert await panel.look() == {"processes": {}, **nothing}
    stack.keys = replace(stack.keys, host_port=1)
    assert (await panel.look())["assets"] is None
    await panel.close()
    assert not (tmp_path / "flock.db").exists(), "looking makes no database"
