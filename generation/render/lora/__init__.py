"""The adapters (LoRA) in a pipeline: those of the table of its model, and the release that a job asks for."""
