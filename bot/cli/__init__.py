"""The `flock` command line: one file a family of commands, each with its own parser."""
