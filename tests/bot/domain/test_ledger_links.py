"""The public facts about the ledger, as members get them."""

from __future__ import annotations

from bot.domain.ledger_links import PublicLedger

TX = "0x" + "ab" * 32
PLAIN = PublicLedger("0x" + "12" * 20)


def test_a_transaction_is_a_link_where_there_is_an_explorer() -> None:
    assert PLAIN.transaction(TX) == f"`{TX}`"
    linked = PublicLedger(PLAIN.address, explorer_tx_url="https://scan.example/tx/{tx}")
    assert linked.transaction(TX) == f"[`{TX[:10]}…`](https://scan.example/tx/{TX})"


def test_the_audit_command_names_what_is_known() -> None:
    """Our own node is never named: its address may hold a key."""
    assert PLAIN.audit_command(None) == f"flock audit --rpc URL --ledger {PLAIN.address}"
    known = PublicLedger(PLAIN.address, rpc="https://node.example", since=0, chain_id=5)
    assert known.audit_command(3) == (
        f"flock audit --rpc https://node.example --ledger {PLAIN.address} --since 0 --chain 5 --round 3"
    )
