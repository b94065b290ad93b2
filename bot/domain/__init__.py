"""Pure nouns: what a round, a video, a vote and the standings are. No input or output, no clock."""
