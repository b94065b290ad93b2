"""The audit: every tally computed anew from the chain's log alone."""
