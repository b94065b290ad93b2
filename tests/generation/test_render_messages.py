"""The messages between a worker and its render process: each line is read as it was written, or named as unreadable."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from generation.models.registry import Model
from generation.prompt_words import PromptWords
from generation.render_messages import (
    Alive,
    Cancel,
    CommandFailed,
    Denoised,
    FailureKind,
    Findings,
    Flag,
    LoadModel,
    Measured,
    Message,
    MessageError,
    ModelLoaded,
    PeakMemory,
    RenderedVideo,
    RenderRequest,
    RenderVideo,
    Signing,
    Tick,
    VideoRendered,
    line_of,
    read_answer,
    read_command,
)
from generation.strict_json import ShapeError
from tests.builders.renders import loaded_model

REQUEST = RenderRequest("half a \ud83d pair\n", 2**62 + 1, "v.mp4", "v.jpg", fit_bytes=9, signing=Signing("data"))
VIDEO = RenderedVideo(
    sha256="s", size_bytes=1, width=2, height=3, fps=8, frames=9, provenance={"seed": 2**62 + 1}, seconds=1.5,
    model_id="m", model_revision="r", findings=Findings("c", 4, [Flag("red", 0.9, 2)]),
    measured=Measured({"step": 0.5}, 3, prompt_known=False, memory=PeakMemory(100, None)),
)  # fmt: skip
COMMANDS = [LoadModel(1, Model("m", "x/y", dtype={"vae": "float32"})), RenderVideo(2, REQUEST), Cancel(2)]
ANSWERS = [
    ModelLoaded(1, loaded_model(preset={"caches": ("first_block",)})),
    Tick(2, "denoising", 1, 20),
    Tick(2, "denoising", 0, 20, PromptWords([[0, 3]], [[4, 7]], "colours", "red")),
    Denoised(2),
    VideoRendered(2, VIDEO),
    VideoRendered(2, replace(VIDEO, findings=None)),
    CommandFailed(2, FailureKind.CRASH, "It could not."),
    Alive(2),
]


@pytest.mark.parametrize("message", [*COMMANDS, *ANSWERS], ids=lambda message: type(message).__name__)
def test_a_line_is_read_as_it_was_written(message: Message) -> None:
    """In its own direction; the other direction has no such message."""
    line = line_of(message)
    assert line.count("\n") == 1
    line.encode("ascii")
    read, other = (read_command, read_answer) if message in COMMANDS else (read_answer, read_command)
    assert read(line) == message
    assert read(line.encode()) == message
    assert type(message).from_json(json.loads(json.dumps(message.to_json()))) == message
    with pytest.raises(MessageError, match="of an unknown kind") as caught:
        other(line)
    assert caught.value.number == message.number


@pytest.mark.parametrize(
    ("line", "reason", "number"),
    [
        (b"", "not JSON", None),
        (b"\xff\xfe", "not JSON", None),
        ("[" * 100_000, "not JSON", None),
        ("[]", "no JSON object", None),
        ('{"kind": "tick"}', "lacks the field 'number'", None),
        (
            '{"kind": "tick", "number": true, "phase": "loading", "step": 0, "steps": 1}',
            "number is of the wrong type",
            None,
        ),
        ('{"kind": "dance", "number": 7}', "of an unknown kind", 7),
        ('{"kind": ["tick"], "number": 7}', "of an unknown kind", 7),
        ('{"kind": "tick", "number": 7, "phase": "denoising", "step": 1}', "lacks the field 'steps'", 7),
        ('{"kind": "tick", "number": 7, "phase": "secret", "step": 1, "steps": 2}', "phase is of the wrong type", 7),
        ('{"kind": "alive", "number": 7, "more": "secret"}', "Alive has no field 'more'", 7),
        ('{"kind": "failed", "number": 7, "failure": "secret", "sentence": ""}', "failure is none of load,", 7),
    ],
)
def test_a_line_that_is_no_message_is_an_error(line: str | bytes, reason: str, number: int | None) -> None:
    """Of one kind, whatever is wrong; it says what, and shows nothing of the line. Its number is read where it is."""
    with pytest.raises(MessageError, match=reason) as caught:
        read_answer(line)
    assert caught.value.number == number
    assert "secret" not in str(caught.value)


def test_a_message_reads_its_own_kind_alone() -> None:
    with pytest.raises(ShapeError, match="no message of the kind 'alive'"):
        Alive.from_json(Denoised(1).to_json())


def test_a_prompt_is_not_shown() -> None:
    """A command may be logged; the prompt in it is its member's."""
    assert "half" not in repr(RenderVideo(1, REQUEST))


def test_the_messages_need_no_torch() -> None:
    """The worker imports them."""
    code = (
        "import sys, generation.render_messages; print([m for m in ('torch', 'diffusers', 'av') if m in sys.modules])"
    )
    answer: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
