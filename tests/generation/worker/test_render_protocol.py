"""A worker and a process that does not keep to the protocol: its jobs fail, and the worker goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from generation.models.registry import Model
from generation.render_messages import (
    Alive,
    CommandFailed,
    Denoised,
    FailureKind,
    LoadModel,
    ModelLoaded,
    RenderRequest,
    RenderVideo,
    Tick,
    VideoRendered,
    line_of,
)
from generation.worker.render_protocol import ChildProcess, RenderError
from tests.builders.renders import loaded_model

# It writes what it is told to as soon as it has a command, and then waits.
SPEAKER = """
import sys, time
sys.stdin.readline()
sys.stdout.buffer.write(sys.argv[1].encode("latin-1"))
sys.stdout.flush()
time.sleep(float(sys.argv[2]))
"""
LOAD = LoadModel(1, Model("m", "x/y"))
LOADED = line_of(ModelLoaded(1, loaded_model()))


async def child_that_says(text: str, *, stays_s: float = 60) -> ChildProcess:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SPEAKER, text, str(stays_s), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    return ChildProcess(process)


class Progress:
    def __init__(self) -> None:
        self.answers: list[Tick | Denoised] = []

    async def __call__(self, answer: Tick | Denoised) -> None:
        self.answers.append(answer)


@pytest.fixture
async def progress() -> AsyncIterator[Progress]:
    yield Progress()


async def load(child: ChildProcess, progress: Progress) -> ModelLoaded:
    try:
        return await child.ask(LOAD, ModelLoaded, patience=lambda: 30, on_progress=progress, cancel=None)
    finally:
        await child.close()


async def test_answers_are_passed_on_until_the_last_one(progress: Progress) -> None:
    """Signs of life only break the silence; answers to other commands are nobody's."""
    lines = [Alive(1), Tick(1, "loading", 0, 1), Tick(9, "denoising", 1, 2), Denoised(1)]
    child = await child_that_says("".join(line_of(line) for line in lines) + LOADED)
    assert (await load(child, progress)).model == loaded_model()
    assert progress.answers == [Tick(1, "loading", 0, 1), Denoised(1)]


async def test_a_failure_is_the_jobs_own(progress: Progress) -> None:
    """With its kind and its sentence, as the process says them."""
    child = await child_that_says(line_of(CommandFailed(1, FailureKind.OUT_OF_MEMORY, "Too much.")))
    with pytest.raises(RenderError, match=r"Too much\.") as caught:
        await load(child, progress)
    assert caught.value.kind is FailureKind.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last)\n",
        "\xff\xfe\n",
        "[" * 100_000 + "\n",
        "{" + "x" * 100_000 + "\n",
        "null\n",
        '{"kind": "loaded", "number": 1}\n',
        '{"kind": "tick", "number": "1", "phase": "loading", "step": 0, "steps": 1}\n',
        LOADED.replace('"device"', '"devices"'),
    ],
    ids=["words", "bytes", "nested", "longer than a line", "null", "no model", "no number", "another field"],
)
async def test_a_bad_line_ends_its_process_alone(
    text: str, progress: Progress, caplog: pytest.LogCaptureFixture
) -> None:
    """The job fails as with any crash, the log says why, and no task of the worker's ends with it."""
    child = await child_that_says(text)
    with pytest.raises(RenderError, match="ended unexpectedly") as caught:
        await load(child, progress)
    assert caught.value.kind is FailureKind.CRASH
    assert child.pid is None
    assert not child.alive
    assert "an answer that cannot be read" in caplog.text


async def test_the_answer_to_another_command_is_no_answer(progress: Progress) -> None:
    """A model that is loaded is no video."""
    child = await child_that_says(LOADED)
    command = RenderVideo(1, RenderRequest("p", 1, "v", "p"))
    with pytest.raises(RenderError, match="ended unexpectedly"):
        await child.ask(command, VideoRendered, patience=lambda: 30, on_progress=progress, cancel=None)
    await child.close()


async def test_a_process_that_ends_without_an_answer_has_crashed(progress: Progress) -> None:
    """Its commands hear of it at once, and so does one that comes later."""
    child = await child_that_says(line_of(Alive(1)), stays_s=0)
    with pytest.raises(RenderError, match=r"ended unexpectedly \(code 0\)"):
        await child.ask(LOAD, ModelLoaded, patience=lambda: 30, on_progress=progress, cancel=None)
    with pytest.raises(RenderError, match="ended unexpectedly"):
        await load(child, progress)
