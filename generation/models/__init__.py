"""The models that are configured: where they are, at which revision, how each renders. No torch."""
