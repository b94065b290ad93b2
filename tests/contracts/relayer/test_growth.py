"""A relayer with a long past behind it does no more for a round than one with a short one: by what is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.deploy import deploy
from contracts.ledger.client import Ledger
from contracts.relayer.relayer import Relayer
from migrations.database import open_database, upgrade_database
from tests.builders.accounts import member
from tests.builders.relayed_community import QUICK, Community, relay_all
from tests.conftest import empty_postgresql
from tests.growth.history import Past, fill
from tests.growth.plans import Watch, watched
from tests.migrations.test_growth import MOST, forbidden

ANA = member(1)
COUNTED = "SELECT count(*) AS count_1 \nFROM (SELECT outbox.id"  # up to a thousand, and so far from it in both
# A round may be found by what waits, of which there is little, or by its videos: so many steps, or pages.
SLACK = {"sqlite": 300, "postgresql": 250}
FEW: dict[str, Any] = {"open_votes": 100, "waiting": 0, "members": 500, "numbered": False}


async def relayed(url: str, past: Past, ledger: Ledger, signer: Any) -> Watch:
    """What the database does while a whole round travels, with wallets in it, from its opening to its end."""
    await upgrade_database(url)
    fill(url, past)
    database = open_database(url)
    community = Community(database)
    relayer = Relayer(database, ledger, signer, QUICK)
    with watched(database) as watch:
        round_id = await community.round(past.open_round + 1)
        await community.video(round_id, "a")
        await community.video(round_id, "b")
        await community.vote(round_id, "a", *((member, 1) for member in range(1, 31)))
        await relay_all(relayer)
        await community.link(ledger, 1, ANA)
        await community.ballot(ledger, round_id, 1, ANA, {"a": 2, "b": 1})
        await relay_all(relayer)
        await community.vote(round_id, "b", *((member, 2) for member in range(20, 40)))
        await community.unlink(ledger, 1, ANA)
        await community.close(round_id)
        await relay_all(relayer)
        await relayer.status()
    await database.dispose()
    return watch


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_round_travels_as_lightly_after_many_as_after_few(
    kind: str, chain: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each statement of the relayer touches as much; and on SQLite none of them reads a table through."""
    most: list[dict[str, int]] = []
    for rounds in (40, 160):
        url = f"sqlite:///{tmp_path}/{rounds}.db"
        if kind == "postgresql":
            url = empty_postgresql(request.getfixturevalue("postgres_server"))
        deployment = await deploy(chain.url, chain.signer, tmp_path / f"{rounds}.json")
        async with Ledger(chain.url, deployment.address) as ledger:
            past = Past(rounds=rounds, votes=600, chain_id=await ledger.node.chain_id(), **FEW)
            watch = await relayed(url, past, ledger, chain.signer)
            assert await ledger.finalized_tx(1) is not None
        most.append({})
        for statement in watch.statements:
            most[-1][statement.text] = max(statement.work, most[-1].get(statement.text, 0))
        if kind == "sqlite":
            assert forbidden(watch) == {}
    short, long = most
    assert len(long) > 50
    grown = {
        text: (short[text], work)
        for text, work in long.items()
        if text in short and work > short[text] * MOST[kind] + SLACK[kind] and not text.startswith(COUNTED)
    }
    assert grown == {}
