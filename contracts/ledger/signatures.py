"""The forms in which wallets give a signature, and the one that the ledger accepts. Integers alone, no library."""

from __future__ import annotations

from contracts.signers.secp256k1 import HALF_ORDER, ORDER

_TOP_BIT = 1 << 255


def normalize(signature: bytes) -> bytes:
    """Return a signature as the ledger accepts it: r, s and v in 65 bytes, with the low s, and v 27 or 28.

    Takes 65 bytes with v as 0 or 27 and up and either s, and the 64 bytes of EIP-2098. Any other signature is returned
    as it is: a smart account may have signatures of every length.
    """
    if len(signature) == 64:
        top = int.from_bytes(signature[32:], "big")
        return _join(signature[:32], top % _TOP_BIT, odd=top >= _TOP_BIT)
    if len(signature) == 65 and signature[64] in (0, 1, 27, 28):
        return _join(signature[:32], int.from_bytes(signature[32:64], "big"), odd=signature[64] in (1, 28))
    return signature


def _join(r: bytes, s: int, *, odd: bool) -> bytes:
    """Return r, s and v in 65 bytes; of the two signatures that mean the same, the one with the low s."""
    if HALF_ORDER < s < ORDER:
        s, odd = ORDER - s, not odd
    return r + s.to_bytes(32, "big") + bytes([28 if odd else 27])
