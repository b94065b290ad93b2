"""Rows about training: members' choices, and all that a data set is made of."""
