"""Video files on their way to a card: found on this machine, or brought here from a worker's."""
