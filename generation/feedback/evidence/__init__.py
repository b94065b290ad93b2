"""The statistics of the release gate, in whole numbers: the same votes give the same verdict on every machine."""
