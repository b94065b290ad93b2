"""The contract's storage beside its log. That each getter is asked, test_audit_wallets and test_audit_lies show."""

from __future__ import annotations

from contracts.audit.chain.entries import Lookups
from contracts.audit.chain.storage import compare_storage
from contracts.audit.replay import Replay
from contracts.ledger.client import Ledger
from tests.builders.ledger_bench import Bench
from tests.builders.lying_node import LyingNode


async def test_an_empty_replay_lacks_what_the_contract_has(bench: Bench) -> None:
    """Counts and roles of a log that tells of nothing; a replay of the log itself lacks nothing."""
    bench.round()
    async with LyingNode(bench) as node, Ledger(node.url, bench.address) as ledger:
        head = await ledger.node.block_number()
        whole = Replay()
        async for event in ledger.events(0, head):
            whole.take(event)
        found = [each async for each in compare_storage(ledger, Replay(), [], head, Lookups())]
        assert found[0] == "The log holds 0 rounds, the contract 1."
        assert [sentence.split(" is ")[0] for sentence in found[1:]] == [
            "The contract's owner",
            "The contract's guardian",
        ]
        assert [each async for each in compare_storage(ledger, whole, [1], head, Lookups())] == []
