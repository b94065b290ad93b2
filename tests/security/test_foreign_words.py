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
from bot.domain.battles import PairCount
from bot.domain.ledger_links import PublicLedger
from bot.domain.releases import Release
from bot.domain.rounds import Round
from bot.domain.training_report import TrainingFacts
from bot.domain.wallets import Wallet, WalletState
from bot.ledger_status import LedgerStatus
from bot.store import rounds as store
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
