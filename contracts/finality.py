"""When a transaction stands for good: by the chain's own word (safe, finalized) where it gives one, else by depth."""

from __future__ import annotations

import logging

from contracts.node import ChainUnreachableError, Node, NodeRefusedError

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

    @property
    def tag(self) -> str | None:
        """The tag by which transactions are final here, once `look` found that the node offers it."""
        return self._offered

    async def look(self, chain_id: int) -> None:
        """Finds out whether the node offers the tag on this chain."""
        self._offered = None
        if self._tag is None or chain_id in DEV_CHAINS:
            return
        try:
            if await self._node.block_number(self._tag) > 0:  # a node without consensus says 0
                self._offered = self._tag
                return
        except (ChainUnreachableError, NodeRefusedError) as error:
            log.debug("No block is called %s: %s", self._tag, error)
        log.info("The chain does not say what is %s; %d blocks count instead.", self._tag, self._confirmations)

    async def upto(self) -> int:
        """The number of the latest block whose transactions are final."""
        if self._offered is not None:
            return await self._node.block_number(self._offered)
        return await self._node.block_number() - (self._confirmations - 1)

    async def block_hash(self, number: int) -> str | None:
        return await self._node.block_hash(number)

    async def stands(self, block_number: int, block_hash: str) -> bool:
        """Whether a block is still the chain's own: then so are all blocks before it."""
        return await self._node.block_hash(block_number) == block_hash
