"""Tuning: an adapter (LoRA) from scored videos, for every family that takes adapters."""
