"""The learning loop: from votes to data, from data to a candidate, from a candidate to a release."""
