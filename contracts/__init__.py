"""From a vote to an immutable, checkable record. Never imports bot, generation, discord or torch."""
