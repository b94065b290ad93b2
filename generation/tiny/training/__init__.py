"""The training of the tiny model (`make tiny`). Workers do not need it."""
