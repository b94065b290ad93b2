"""The states and kinds in the tables of generation. No SQLAlchemy here: pure modules import these.

The values are data. They stand in the databases of every community, and never change.
"""

from __future__ import annotations

from enum import StrEnum


class RenderPhase(StrEnum):
    """The phase of a render, in `render_progress.phase`."""

    LOADING = "loading"  # the worker loads the model
    DENOISING = "denoising"  # the model makes the frames; the phase with meaningful steps
    ENCODING = "encoding"  # the frames become a signed mp4
    UPLOADING = "uploading"  # the mp4 goes to the host


class ExecutorRole(StrEnum):
    """The role of a process that executes workflows, in `executor_leases.role`."""

    BOT = "bot"  # `flock run`: serves the workflows of videos and rounds
    WORKER = "worker"  # `flock worker`: renders and uploads
