"""The render process: a diffusers pipeline, loaded and called. Torch is imported here."""
