"""Words of a worker, of a video host or of a chain node in the bot's mouth: they are read as words, wherever they go.

An attacker who can write a reason tries to have the bot say it with a link, a heading or a mention.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import battles, candidates, models, receipts, results, rounds, videos, wallets
from bot.cli.process import say, write
from bot.doctor.check import Check
from bot.doctor.report import render
from bot.domain.battles import PairCount
from bot.domain.ledger_links import PublicLedger
from bot.domain.releases import Release
from bot.domain.rounds import Round
from bot.domain.training_report import TrainingFacts
from bot.domain.wallets import Wallet, WalletState
from bot.ledger_status import LedgerStatus
from bot.store import rounds as store
from contracts.audit.output.words import report_text
from contracts.audit.report import AuditReport
from generation.jobs import TrainingResult
from tests.bot.cards.test_battles import a_battle
from tests.bot.cards.test_receipts import REJECTED
from tests.bot.cards.test_results import text_of
from tests.bot.cards.test_videos import ROUND, VIDEO
from tests.builders.battle_rounds import a_verdict

LINK = "[Claim your prize](https://evil.example/login)"
HOSTILE = f"{LINK} @everyone **now**\n# Read this\n> and <@1> <https://evil.example> \u202eold\u2069 `x\x1b[2J`"
FACTS = TrainingFacts(candidate_id=3, votes=10, videos=5, rounds=2, held_out=0, left_out=0, release=None)
RESULT = TrainingResult(
    adapter_sha256="a" * 64, size_bytes=1, machine=HOSTILE, videos=5, drift=0.1, seconds=1.0, guards_passed=False,
    guards=[HOSTILE], vetoes=[HOSTILE], notes=[HOSTILE],
)  # fmt: skip
TROUBLED = cast(Round, SimpleNamespace(number=5, status="open", task="t", thread_id=7, closes_at_ms=0, trouble=HOSTILE))

PLACES: dict[str, Callable[[], str]] = {
    "progress, failed": lambda: videos.progress_text(
        replace(VIDEO, status="failed", reason=HOSTILE), ROUND, None, None
    ),
    "progress, cancelled": lambda: videos.progress_text(
        replace(VIDEO, status="cancelled", reason=HOSTILE), ROUND, None, None
    ),
    "progress, waiting": lambda: videos.progress_text(
        replace(VIDEO, status="hosting", reason=HOSTILE), ROUND, None, None
    ),
    "list of videos": lambda: text_of(videos.my_videos([replace(VIDEO, status="failed", reason=HOSTILE)])),
    "receipt": lambda: text_of(
        receipts.receipt_card(ROUND, [(VIDEO, replace(REJECTED, reason=HOSTILE))], "v", PublicLedger("0x"), "check")
    ),
    "rejected votes": lambda: text_of(results.rejected_note([(5, 1, HOSTILE)])),
    "wallet": lambda: wallets.wallet_words(Wallet(1, 2, "v", "0x" + "ab" * 20, WalletState.REFUSED, HOSTILE)),
    "round": lambda: rounds.status_text(TROUBLED, 1, 1, 1, 1, "-"),
    "verdict": lambda: text_of(battles.verdict_card(a_battle(), a_verdict(reasons=(HOSTILE,)), PairCount(1, 1, 0, 0))),
    "training, ready": lambda: candidates.ready_text(FACTS, RESULT, None),
    "training, rejected": lambda: candidates.rejected_text(FACTS, HOSTILE, [HOSTILE]),
    "no training": lambda: candidates.not_begun_text("mark", HOSTILE),
    "no battle": lambda: candidates.no_battle_text(3, HOSTILE),
    "no release": lambda: candidates.no_release_text(3, HOSTILE),
    "release": lambda: text_of(models.released(cast(Release, SimpleNamespace(number=1)), HOSTILE)),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_foreign_reason_has_no_effect(place: Callable[[], str]) -> None:
    """It is shown, for it says what happened; nothing in it links, shouts, mentions, begins a line or turns one."""
    text = place()
    assert "Claim your prize" in text
    effective = re.sub(r"\\.", "", text)  # what is escaped has no effect
    for effect in ("](https", "://evil", "@everyone", "**now", "\n# Read", "\n>", "<@", "<http", "\u202e", "\x1b"):
        assert effect not in effective


@pytest.mark.parametrize("field", ["playback_url", "page_url"])
def test_the_address_of_a_host_cannot_leave_its_link(field: str) -> None:
    """A host names the address of a file; text after a bracket would stand in the card as ours."""
    hostile = replace(VIDEO, playback_url=None, page_url=None, message_id=3, thread_id=4)
    hostile = replace(hostile, **{field: f"https://a.example/v) **Win** {LINK}"})
    text = text_of(videos.video_card(hostile, "attachment://a.mp4"))
    assert "https://a.example/v%29" in text
    assert "](https://evil" not in text


async def test_what_a_node_says_of_the_relayer_is_quoted(database: AsyncEngine) -> None:
    """`/round status` tells what keeps the relayer from its work, which may be a node's own error."""

    async def trouble() -> str:
        return HOSTILE

    status = LedgerStatus(database=database, links=PublicLedger("0x"), relayer_trouble=trouble)
    async with database.begin() as connection:
        round_ = await store.open_round(
            connection, guild_id=1, channel_id=2, task="weather", opened_by=3, seconds=60, grace_s=30
        )
    text = await status.sentence(round_)
    assert "Claim your prize" in text
    assert "](https" not in re.sub(r"\\.", "", text)


# ------------------------------------------------------------------ the terminal

STEERING = "bot-1\x1b[2J\x1b]0;title\x07\n✓ all is well\u202e"


def test_the_doctor_is_not_steered() -> None:
    """A process writes its own name into the database, and the doctor prints it: on its own line, without effect."""
    text = render([Check(False, "processes", f"2 bots are running: {STEERING}", "Stop one.")], as_json=False)
    assert text.splitlines() == [
        "✗ processes: 2 bots are running: bot-1\\x1b[2J\\x1b]0;title\\x07\\n✓ all is well\\u202e",
        "    → Stop one.",
    ]


def test_no_output_of_a_command_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither what it prints nor the sentence with which it ends; lines stay lines."""
    write(f"a\n{STEERING}\n")
    say(f"The node answered: {STEERING}")
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert "\\x1b[2J" in text
        assert all(character.isprintable() or character == "\n" for character in text)
    assert captured.out.startswith("a\nbot-1")


def test_an_audit_does_not_print_a_forged_verdict() -> None:
    """What a contract or a manifest says stands in the sentences about it."""
    report = AuditReport(
        chain_id=1, address="0x", since=1, block=2, digest="d", batches=1, votes=1, ballots=1, voters=1,
        problems=[f"no: {STEERING}"], notes=[STEERING],
    )  # fmt: skip
    assert "\n✓ all is well" not in report_text(report)
