"""The end of the demo's story with `--learn`: the round's votes train a candidate, and a battle decides about it."""
