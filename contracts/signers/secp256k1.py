"""The curve on which the chain's signatures lie, secp256k1 (SEC 2). Integers alone, no library."""

from __future__ import annotations

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # r and s of a signature lie below it
HALF_ORDER = ORDER // 2  # s of a signature may not be higher (EIP-2)
