"""The commands of the learning loop: the model and its releases, and members' choices about training."""
