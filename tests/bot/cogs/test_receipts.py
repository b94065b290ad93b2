"""A member's receipt: each choice with where it stands, and nothing that could not be checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bot.cards import receipts as receipt_cards
from bot.domain.ledger_links import PublicLedger, deployed_in
from bot.domain.rounds import Round
from bot.domain.videos import Video
from contracts.outbox.progress import VoteReceipt

TX = "0x" + "ab" * 32
FINAL = VoteReceipt(1, "final", None, video_number=4, voter_index=2, seat=0, seq=7, tx=TX)
PLAIN = PublicLedger("0x" + "12" * 20)


def shown(receipts: list[VoteReceipt], ledger: PublicLedger = PLAIN, number: int | None = 3) -> str:
    round_ = cast(Round, SimpleNamespace(number=5))
    video = cast(Video, SimpleNamespace(status="published", prompt="a *red* circle " + "x" * 200))
    lines = [(video, one) for one in receipts]
    view = receipt_cards.receipt_card(round_, lines, "cd" * 32, ledger, ledger.audit_command(number))
    texts: list[str] = []

    def walk(component: object) -> None:
        if isinstance(component, dict):
            texts.append(str(component.get("content", "")))
            for child in component.get("components", []):
                walk(child)

    for component in json.loads(json.dumps(view.to_components())):
        walk(component)
    return "\n".join(texts)


@pytest.mark.parametrize(
    ("receipt", "words"),
    [
        (FINAL, ("👍", "up", "video 4 on the ledger", "seat 0", "batch 7", TX)),
        (replace(FINAL, signed=True, seq=None), ("👍", "up", "signed by your wallet", TX)),
        (replace(FINAL, signed=True, state="batched", tx=None), ("up", "signed, and on its way")),
        (replace(FINAL, choice=2), ("👎", "down", "batch 7")),
        (replace(FINAL, choice=0), ("↩️", "withdrawn", "batch 7")),
        (replace(FINAL, state="pending", tx=None, seq=None), ("up", "on its way to the ledger")),
        (replace(FINAL, state="batched"), ("up", "on its way to the ledger")),
        (
            replace(FINAL, state="rejected", reason="The round had already closed on the ledger.", tx=None),
            ("⚠️", "had already closed"),
        ),
        (
            replace(FINAL, choice=2, signed=True, state="rejected", reason="It came late.", tx=None, standing=1),
            ("⚠️", "It came late. Your earlier choice **up** counts instead."),
        ),
    ],
    ids=["up", "signed", "signed, on its way", "down", "withdrawn", "pending", "sent", "refused", "refused, signed"],
)
def test_each_vote_is_shown_with_where_it_stands(receipt: VoteReceipt, words: tuple[str, ...]) -> None:
    """Only what is final has a transaction; what was refused says why."""
    text = shown([receipt])
    for word in words:
        assert word in text
    assert (TX in text) is (receipt.state == "final")
    assert "*red*" not in text.replace("\\*red\\*", "")


def test_what_can_be_checked_says_how() -> None:
    """The command names ledger and round; an explorer makes a link. Our own node is not told: it may hold a key."""
    text = shown([FINAL], replace(PLAIN, rpc="https://node.example", explorer_tx_url="https://scan.example/tx/{tx}"))
    assert f"flock audit --rpc https://node.example --ledger {PLAIN.address} --round 3" in text
    assert f"(https://scan.example/tx/{TX})" in text
    text = shown([FINAL], number=None)
    assert f"flock audit --rpc URL --ledger {PLAIN.address}`" in text
    text = shown([FINAL], replace(PLAIN, since=0))
    assert f"--ledger {PLAIN.address} --since 0 --round 3`" in text


def test_the_block_of_the_deployment_is_that_of_this_ledger(tmp_path: Path) -> None:
    """A record of another ledger, one that cannot be read and none at all name no block."""
    record = tmp_path / "ledger.json"
    assert deployed_in(record, PLAIN.address) is None
    record.write_text(json.dumps({"chain_id": 1, "address": PLAIN.address.upper(), "tx": TX, "block": 77}))
    assert deployed_in(record, PLAIN.address) == 77
    assert deployed_in(record, "0x" + "34" * 20) is None
    record.write_text("{}")
    assert deployed_in(record, PLAIN.address) is None


def test_many_votes_fit_into_one_message() -> None:
    """Discord takes 4,000 characters in a message; what does not fit is counted."""
    link = replace(PLAIN, explorer_tx_url="https://scan.example/" + "y" * 40 + "/tx/{tx}")
    text = shown([FINAL] * 40, link)
    assert len(text) < 4000
    assert f"and {40 - receipt_cards.MOST_RECEIPTS} more" in text
