"""The demo's terminal: what members write is text there, and nothing else."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from bot.demo.result import StoryResult
from bot.demo.terminal import Terminal, plain


@pytest.fixture
def terminal() -> Terminal:
    terminal = Terminal()
    terminal.console = Console(file=io.StringIO(), width=200, highlight=False)
    return terminal


def printed(terminal: Terminal) -> str:
    assert isinstance(terminal.console.file, io.StringIO)
    return terminal.console.file.getvalue()


def test_a_prompt_cannot_draw_on_the_terminal(terminal: Terminal) -> None:
    """Neither markup nor control characters get through."""
    terminal.say("ana", "[red]hello[/red] \x1b[2J\r")
    assert "[red]hello[/red] \\x1b[2J\\r" in printed(terminal)
    assert "\x1b" not in printed(terminal)


def test_a_link_is_never_broken(terminal: Terminal) -> None:
    """However long it is, it can be clicked."""
    link = "http://127.0.0.1:1/#" + "x" * 300
    terminal.link(link)
    assert link in printed(terminal)


def test_bars_move_and_go(terminal: Terminal) -> None:
    """Within their block alone; outside it a bar is nothing."""
    terminal.bar("1", "ana", "a red circle", "denoising", 1, 4)
    with terminal.bars():
        terminal.bar("1", "ana", "a red circle", "denoising", 1, 4)
        terminal.bar("1", "ana", "a red circle", "denoising", 2, 0)
        terminal.finish("1")
        terminal.finish("1")


@pytest.mark.parametrize(("ok", "verdict"), [(True, "agree with"), (False, "DIFFER FROM")])
def test_the_table_shows_votes_ledger_and_winner(terminal: Terminal, ok: bool, verdict: str) -> None:
    """The winner has a cup, and the audit's verdict stands below."""
    result: StoryResult = {
        "round": {
            "number": 1,
            "task": "shapes",
            "status": "closed",
            "thread_id": "1",
            "winner": "a",
            "winner_message_id": "5",
            "chain": {"round": 1, "finalized_tx": "0x1"},
        },
        "videos": [
            {
                "prompt": "[b]a[/b]",
                "video_path": "/a.mp4",
                "sha256": "f" * 64,
                "playback_id": "p",
                "playback_url": "u",
                "page_url": "http://127.0.0.1/v/p",
                "message_id": "5",
                "thread_id": "1",
                "votes": {"up": 3, "down": 1},
                "chain": {"video": 1, "up": 3, "down": 1, "tx": ["0x1"]},
            }
        ],
        "audit": {"ok": ok, "votes": 4, "batches": 1, "entries": 4, "digest": "0x", "chain_id": 7, "ledger": "0x"},
    }
    terminal.table(result)
    text = printed(terminal)
    assert "🏆 [b]a[/b]" in text
    assert text.count("👍 3  👎 1") == 2
    assert f"recomputed 4 votes from the chain alone: they {verdict} contract and database" in text


def test_a_message_in_plain_text() -> None:
    """Mentions by their names, times in words, no markup."""
    soon = int(time.time() + 300)
    text = f"<@1> in <#2> and <#3>: **bold** `code` \\*star <t:{soon}:R> \u2068x\u2069"
    assert plain(text, {"1": "ana", "2": "videos"}) == "@ana in #videos and #thread: bold code *star in 5 minutes x"
    assert plain("<t:1:R> <@9>", {}) == "now @somebody"
