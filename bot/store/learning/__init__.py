"""The rows of the learning loop: candidates, and releases."""
