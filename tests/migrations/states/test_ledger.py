"""The states and kinds of rows: plain strings in the tables, on both kinds of databases."""

from __future__ import annotations

import json
from itertools import zip_longest

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.schema import chain_transactions, outbox
from migrations.states.ledger import OutboxKind, OutboxState, TransactionKind, TransactionState


async def test_entries_hold_the_strings_of_their_kinds_and_states(database: AsyncEngine) -> None:
    """They are bound in an insert of one row and of many, in an update and in conditions, and come back as strings."""
    pairs = list(zip_longest(OutboxKind, OutboxState, fillvalue=OutboxState.PENDING))
    rows = [{"kind": kind, "state": state, "payload": {"kind": kind}, "created_at_ms": 1} for kind, state in pairs]
    async with database.begin() as connection:
        await connection.execute(insert(outbox), rows)
        await connection.execute(insert(outbox).values(rows[0]))
        await connection.execute(
            update(outbox)
            .where(outbox.c.kind.in_((OutboxKind.BALLOT, OutboxKind.SIGNED)))
            .values(state=OutboxState.FINAL)
        )
    async with database.connect() as connection:
        stored = (await connection.execute(select(outbox).order_by(outbox.c.id))).all()
        ballots = select(outbox.c.kind).where(outbox.c.kind == OutboxKind.BALLOT, outbox.c.state == OutboxState.FINAL)
        assert list(await connection.scalars(ballots)) == ["ballot"]
    assert [row.kind for row in stored] == [
        *("round", "video", "vote", "close", "link", "unlink", "ballot", "signed", "battle", "reveal", "commitment"),
        "round",
    ]  # fmt: skip
    assert {row.state for row in stored} == {"pending", "batched", "final", "superseded", "rejected"}
    assert {type(row.kind) for row in stored} == {type(row.state) for row in stored} == {str}
    assert [row.payload["kind"] for row in stored] == [row.kind for row in stored]


async def test_transactions_hold_the_strings_of_their_kinds_and_states(database: AsyncEngine) -> None:
    """Each kind and state is what earlier versions wrote, and a member finds the row that a string wrote."""
    names = [
        "round", "video", "voters", "votes", "close", "finalize", "link", "unlink", "claim", "ballot", "battle",
        "reveal", "commitment", "noop",
    ]  # fmt: skip
    assert [str(kind) for kind in TransactionKind] == names
    states = ["signed", "sent", "final", "reverted"]
    assert [str(state) for state in TransactionState] == states
    about = {"sender": "0x", "raw": b"", "hashes": [], "created_at_ms": 1}
    rows = [{**about, "nonce": nonce, "kind": kind, "state": "sent"} for nonce, kind in enumerate(names)]
    async with database.begin() as connection:
        await connection.execute(insert(chain_transactions), rows)
    async with database.connect() as connection:
        for kind in TransactionKind:
            same = (chain_transactions.c.kind == kind, chain_transactions.c.state == TransactionState.SENT)
            assert await connection.scalar(select(chain_transactions.c.kind).where(*same)) == str(kind)


def test_a_member_is_its_string_wherever_it_is_written() -> None:
    """In JSON, in sentences and as a key of a dictionary."""
    assert json.dumps({"state": OutboxState.FINAL}) == '{"state": "final"}'
    assert f"{OutboxState.FINAL} %s" % OutboxState.FINAL == "final final"  # as logs are written
    assert {"final": 1}[OutboxState.FINAL] == {OutboxState.FINAL: 1}["final"] == 1
