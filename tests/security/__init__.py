"""Attacks that were tried on the product, each a test that fails where it gets through."""
