"""The workflows of the learning loop."""
