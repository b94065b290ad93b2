"""The learning loop, killed at its steps: nothing is done twice, and nothing is lost."""
