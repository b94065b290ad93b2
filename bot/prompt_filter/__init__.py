"""The operator's rules for prompts. Nothing here does I/O but the reading of their file."""
