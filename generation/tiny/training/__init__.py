"""The training of the tiny model (`make tiny`). No worker needs it."""
