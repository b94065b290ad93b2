"""The jobs of the learning loop that a worker takes."""
