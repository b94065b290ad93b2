"""The GPU worker: takes render jobs, supervises its render process, uploads the files. Never imports torch."""
