"""The adapters' files: how one is checked, and its way between bot and workers through the database. No torch."""
