"""From a prompt to a hosted, playable video, and from votes to a better model. Imports neither bot nor ledger."""
