"""Verbs that outlive a restart: one durable workflow a file. Any step may run twice, harmlessly."""
