"""The demo's terminal: one line for each event, one bar for each video. Everything goes to stderr."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bot.demo.result import StoryResult
from generation.printable import one_line

PHASES = {"loading": "loading the model", "denoising": "denoising", "encoding": "encoding", "uploading": "uploading"}


class Terminal:
    """Lines and bars. Members' words are escaped: a prompt cannot draw on the terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, quiet=quiet)
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold]{escape(text)}[/bold]")

    def say(self, speaker: str, text: str) -> None:
        """Print one event: the member, the bot or the process that it is of, and a sentence."""
        self.console.print(f"  [cyan]{escape(one_line(speaker)):>10}[/cyan]  {escape(one_line(text))}", soft_wrap=True)

    def link(self, address: str) -> None:
        """Print the page's address, where everybody sees it; it is never broken into two lines."""
        self.console.print(f"\n  [bold green]▶ {escape(address)}[/bold green]\n", soft_wrap=True)

    @contextmanager
    def bars(self) -> Iterator[None]:
        """Show bars within this block, where the terminal can show them."""
        progress = Progress(
            TextColumn("  {task.fields[member]:>10}  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[phase]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        with progress:
            self._progress = progress
            try:
                yield
            finally:
                self._progress = None
                self._bars.clear()

    def bar(self, key: str, member: str, prompt: str, phase: str, step: int, steps: int) -> None:
        """Move the bar of one video."""
        if self._progress is None:
            return
        if key not in self._bars:
            label = escape(one_line(prompt))[:40]
            self._bars[key] = self._progress.add_task(label, total=1, member=member, phase="")
        total = max(steps, 1)
        self._progress.update(
            self._bars[key], completed=step, total=total, phase=escape(one_line(PHASES.get(phase, phase)))
        )

    def finish(self, key: str) -> None:
        """Take the bar of a finished video away."""
        if self._progress is not None and key in self._bars:
            self._progress.remove_task(self._bars.pop(key))

    def table(self, result: StoryResult) -> None:
        """Print the result: the videos, the votes, and what the ledger has recorded."""
        table = Table(title=f"Round {result['round']['number']}: {escape(one_line(result['round']['task']))}")
        for name in ("prompt", "votes", "on the ledger", "playback", "sha-256"):
            table.add_column(name, overflow="fold")
        for video in result["videos"]:
            mark = "🏆 " if video["message_id"] == result["round"]["winner_message_id"] else ""
            table.add_row(
                mark + escape(one_line(video["prompt"])),
                f"👍 {video['votes']['up']}  👎 {video['votes']['down']}",
                f"👍 {video['chain']['up']}  👎 {video['chain']['down']}",
                escape(one_line(video["page_url"])),
                str(video["sha256"])[:16] + "…",
            )
        self.console.print()
        self.console.print(table)
        audit = result["audit"]
        verdict = "agree with" if audit["ok"] else "DIFFER FROM"
        self.console.print(
            f"  The audit recomputed {audit['votes']} votes from the chain alone: they {verdict} contract and database."
        )


def plain(text: str, names: dict[str, str]) -> str:
    """Return a message as a client shows it, in plain text: names for mentions, no markup, times in words."""
    text = re.sub(r"<@(\d+)>", lambda m: f"@{names.get(m[1], 'somebody')}", text)
    text = re.sub(r"<#(\d+)>", lambda m: f"#{names.get(m[1], 'thread')}", text)
    text = re.sub(r"<t:(\d+):R>", lambda m: _from_now(int(m[1]) - time.time()), text)
    text = re.sub(r"\\([^\w\s])", r"\1", text.replace("**", "").replace("`", ""))
    return re.sub(r"[\u2068\u2069\u200b]", "", text)


def _from_now(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"in {minutes} minutes" if minutes > 1 else "in a minute" if minutes == 1 else "now"
