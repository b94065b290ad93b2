"""From frames to a signed mp4 with its provenance card."""
