"""All that the bot posts, edits or takes back on Discord."""
