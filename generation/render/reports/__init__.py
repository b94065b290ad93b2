"""The reports of a render process while it works: signs of life, and steps as they pass."""
