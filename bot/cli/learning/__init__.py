"""The commands of `flock` by which votes become a better model."""
