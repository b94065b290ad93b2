"""Each family's pipeline, built from tiny random configs: the real classes, without weights and without a hub."""
