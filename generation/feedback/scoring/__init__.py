"""Judgements by numbers: scores of videos, the reward model, the taste scorer, guards and checks on a candidate."""
