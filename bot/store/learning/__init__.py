"""The rows of the learning loop: members' choices, what a data set is made of, candidates, and releases."""
