"""The embedded model: a tiny text-to-video pipeline of a current family, which comes trained."""
