"""Attacks that were tried against the whole product, each kind in a file of its own, so that they stay closed."""
