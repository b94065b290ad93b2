"""What others wrote: which files of it an image takes, and under which licences it is."""
