"""The data set that votes become: rows in, a folder in the layout of Hugging Face out. Its schema: docs/dataset.md."""
