"""The rule by which a transaction is final: the chain's own tag (safe, finalized) where it offers one, else depth."""

from __future__ import annotations

import logging

from contracts.rpc.node import Node

log = logging.getLogger(__name__)

# Chains for development make a block only when there is something to put into it: `safe` would never come nearer.
DEV_CHAINS = {1337, 31337, 31431}


class Finality:
    """The rule for one chain. `tag` is safe, finalized, or None for depth alone."""

    def __init__(self, node: Node, tag: str | None, confirmations: int) -> None:
        self._node = node
        self._tag = tag
        self._confirmations = confirmations
        self._offered: str | None = None
        self._logged = False

    @property
    def tag(self) -> str | None:
        """The tag by which transactions are final here, once `look` saw that the node offers it."""
        return self._offered

    async def look(self, chain_id: int) -> None:
        """Ask whether the node offers the tag on this chain. Raises LedgerError while it does not answer."""
        if self._tag is None or chain_id in DEV_CHAINS:
            self._offered = None
            return
        number = await self._node.tagged(self._tag)
        if not number and not self._logged:  # a node without consensus says 0
            log.info("The chain does not say what is %s; %d blocks count instead.", self._tag, self._confirmations)
            self._logged = True
        self._offered = self._tag if number else None

    async def upto(self) -> int:
        """Return the number of the latest block whose transactions are final."""
        if self._offered is not None:
            return await self._node.block_number(self._offered)
        return await self._node.block_number() - (self._confirmations - 1)

    async def block_hash(self, number: int) -> str | None:
        """Return the hash of the chain's own block of a number; None where there is none (yet)."""
        return await self._node.block_hash(number)

    async def stands(self, block_number: int, block_hash: str) -> bool:
        """Return True if a block is still the chain's own: then so are all blocks before it."""
        return await self._node.block_hash(block_number) == block_hash
