"""The operator's view of a process: its log, its metrics and its health."""
