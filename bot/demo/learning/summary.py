"""The result of the learning loop, as the terminal shows it at the end."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from bot.demo.learning.result import BeforeAfter, LearningResult
from generation.printable import one_line


def table_of(result: LearningResult) -> Table:
    """Return the loop in a few rows: votes, training, battle, what became of the videos, and the release."""
    table = Table(title=f"A community that likes “{result['taste']}”", show_header=False)
    training, battle, release = result["training"], result["battle"], result["release"]
    table.add_row(
        "votes",
        f"{result['votes']} of {result['voters']} members; {result['hostile']} want the opposite, and "
        f"{result['noise']:.0%} are errors",
    )
    table.add_row(
        "training",
        f"{training['votes']} votes on {training['videos']} videos, {training['pairs']} pairs; "
        f"{training['seconds']:.0f} s; drift {training['drift']:.3f}",
    )
    if battle is not None:
        low, high = battle["interval"]
        table.add_row(
            "battle",
            f"{battle['verdict']}: win rate {battle['win_rate']:.0%} ({low:.0%} to {high:.0%}) in {battle['votes']} "
            f"votes of {battle['voters']} members on {battle['pairs']} pairs; evidence {battle['evidence']:,.1f} of "
            f"{battle['evidence_needed']}, without any {battle['k']} of them",
        )
        table.add_row("verdict", escape(one_line(battle["sentence"])))
    for name, both in (("adherence", result["adherence"]), ("motion", result["motion"])):
        if both is not None:
            table.add_row(name, _told(both))
    if release is not None:
        table.add_row(
            "release", f"{release['number']}, adapter {release['adapter'][:16]}…, transaction {release['tx']}"
        )
    else:
        table.add_row("release", escape(one_line(f"none: {result['refused']}")))
    audit = result["audit"]
    table.add_row("audit", f"{audit['votes']} votes of the round recomputed from the chain alone: they agree")
    return table


def _told(both: BeforeAfter) -> str:
    return f"{both['before']:.3g} before, {both['after']:.3g} after"
