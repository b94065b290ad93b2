"""From votes to a better model: the data set of votes, and what is learnt from it."""
