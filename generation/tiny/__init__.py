"""The embedded model: a tiny text-to-video pipeline of a current family, made on this machine in a second."""
