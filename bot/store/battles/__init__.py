"""The rows of battle rounds: rounds and pairs, and the ballots of members."""
