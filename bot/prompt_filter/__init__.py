"""The operator's rules for prompts. Pure, but for the file that they are read from."""
