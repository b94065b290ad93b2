"""Indexes, so that nothing that somebody waits for takes longer the more is over

They are only added. On SQLite no index may be changed or made anew: without statistics it chooses between two that
would do by the order in which they were made, and with statistics it chooses badly (docs/decisions/0015-growth.md).
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

INDEXES: dict[str, list[tuple[str, ...]]] = {
    "outbox": [("transaction_id",)],
    "videos": [("status",), ("guild_id", "created_at_ms"), ("guild_id", "member_id", "created_at_ms")],
    "rounds": [("status",), ("chain_id",), ("finalized_tx",)],
    "voters": [("voter_index",)],
    "chain_transactions": [("kind", "round_id")],
    "wallets": [("address",)],
    "reviews": [("guild_id", "member_id", "state")],
}
ON_POSTGRESQL: dict[str, list[tuple[str, ...]]] = {
    "outbox": [("state", "kind", "id")]
}  # SQLite has the id in every index


def _wanted() -> list[tuple[str, tuple[str, ...]]]:
    found = [(table, columns) for table, listed in INDEXES.items() for columns in listed]
    if op.get_bind().dialect.name == "postgresql":
        found += [(table, columns) for table, listed in ON_POSTGRESQL.items() for columns in listed]
    return found


def upgrade() -> None:
    for table, columns in _wanted():
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def downgrade() -> None:
    for table, columns in reversed(_wanted()):
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
