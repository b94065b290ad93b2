"""Scripted communities with a hidden taste, for the demo and the benchmarks: they watch videos of the tiny model."""
