"""The units of a chain's coin, counted in wei: ether on Ethereum. Light, for the command line loads it first."""

from __future__ import annotations

COIN = 10**18
GWEI = 10**9
