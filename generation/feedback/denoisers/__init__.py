"""The denoisers of all families as tuning meets them: layers, inputs, predictions, adapters, features."""
