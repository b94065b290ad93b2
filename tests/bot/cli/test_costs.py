"""`flock costs`: an estimate on paper without a chain, and with the current fee of one that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.cli.costs import estimate_costs
from bot.domain.errors import OperatorError
from contracts.costs import LEFT_OUT, Community
from tests.builders.command_line import flock, free_port, plain

SMALL = Community(videos=2, voters=10, new_voters=10, votes=20, batch=20)


async def test_without_a_chain_the_estimate_is_on_paper() -> None:
    """The sum of the lines is the whole; the setting that would add the chain is named."""
    estimate = await estimate_costs(None, SMALL, usd=2000)
    text, report = estimate.text(), json.loads(estimate.json())
    assert text.startswith("A round of 2 videos, 20 votes of 10 members (10 of them new), up to 20 votes in a batch:\n")
    assert "set FLOCK_RPC_URL" in text
    assert text.endswith(f"  {LEFT_OUT}\n")
    assert report["live"] is None
    assert report["gas"] == sum(line["gas"] for line in report["transactions"]) == estimate.gas
    paper = report["arbitrum_one_on_paper"]
    assert 0 < paper["eth_least"] <= paper["eth_most"]
    assert paper["usd_most"] == paper["eth_most"] * 2000
    assert paper["assumed"]["eth_usd"] == 2000


async def test_a_chain_that_does_not_answer_is_a_sentence() -> None:
    """No estimate is made up for it."""
    with pytest.raises(OperatorError, match=r"The chain at .* does not answer"):
        await estimate_costs(f"http://127.0.0.1:{free_port()}", SMALL, usd=2000)


def test_the_command(tmp_path: Path) -> None:
    """Two votes for each voter, unless it is said otherwise; a round that cannot be is a sentence."""
    report = json.loads(flock(tmp_path, "costs", "--voters", "5", "--json").stdout)
    assert (report["round"]["votes"], report["round"]["new_voters"]) == (10, 5)
    battles = flock(tmp_path, "costs", "--voters", "5", "--battles", "100").stdout
    assert battles.startswith("A round of 10 videos and 100 battles, 10 votes of 5 members")
    plain(flock(tmp_path, "costs", "--voters", "0"))
