"""Supervision where it ends badly: jobs that no fresh child can save, models that do not load, ends in mid-render.

What a well child does, and what a single failure costs, is in test_render.py.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from generation.models.registry import Model, load_models
from generation.render_messages import LoadedModel, RenderedVideo, RenderRequest, Tick
from generation.worker.render_process import RenderChild, RenderError
from tests.generation.holding import Held

# One child for the whole file: it takes seconds to start.
pytestmark = pytest.mark.asyncio(loop_scope="module")

TEBIBYTE = 1 << 20  # pixels a side, at which the noise alone takes 2**40 bytes: refused at once, never touched


def job(folder: Path, name: str, prompt: str = "a red circle") -> RenderRequest:
    return RenderRequest(prompt, 1, str(folder / f"{name}.mp4"), str(folder / f"{name}.jpg"))


def settings_of(video: RenderedVideo) -> Any:
    card: Any = video.provenance
    return card["settings"]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def quick(tiny_revision: tuple[Path, str], models_file: Path) -> Model:
    return load_models(tiny_revision[0].parent.parent, models_file)["quick"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(quick: Model) -> AsyncIterator[RenderChild]:
    child = RenderChild(quick, hang_s=60)
    yield child
    await child.close()


async def test_two_jobs_at_once_are_rendered_one_after_the_other(child: RenderChild, tmp_path: Path) -> None:
    """Each gets its own video; cancelling the one that waits does not touch the one that is rendered."""
    one, other = await asyncio.gather(
        child.render(job(tmp_path, "one")), child.render(job(tmp_path, "other", "a blue square"))
    )
    assert one.sha256 != other.sha256
    waiting = asyncio.Event()

    async def cancel_the_other(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 2:
            waiting.set()

    first = asyncio.create_task(child.render(job(tmp_path, "first"), on_tick=cancel_the_other))
    second = asyncio.create_task(child.render(job(tmp_path, "second"), cancel=waiting))
    done = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(done[0], RenderedVideo)
    assert done[0].sha256 == one.sha256
    assert isinstance(done[1], RenderError)
    assert done[1].kind == "cancelled"
    assert not (tmp_path / "second.mp4").exists()


class Seen:
    """What is told of several jobs, in the order in which it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int]] = []
        self._heard = asyncio.Event()
        self.at: Callable[[Tick], object] = lambda _tick: None

    def of(self, name: str) -> Callable[[Tick], Awaitable[None]]:
        async def on_tick(tick: Tick) -> None:
            self.told.append((name, tick.phase, tick.step))
            self._heard.set()
            self.at(tick)

        return on_tick

    async def until(self, name: str, phase: str, step: int = 0, *, count: int = 1) -> None:
        async with asyncio.timeout(120):
            while self.told.count((name, phase, step)) < count:
                self._heard.clear()
                await self._heard.wait()


async def test_the_next_job_is_denoised_while_one_is_encoded(child: RenderChild, tmp_path: Path) -> None:
    """The second one's steps pass while the first is still encoded; a third waits, so that no more than two videos'
    frames are held; what is cancelled meanwhile touches neither, and each is the video that it is by itself."""
    alone = [(await child.render(job(tmp_path, f"{n}", f"prompt {n}"))).sha256 for n in range(3)]
    seen, held, unwanted = Seen(), Held(child, tmp_path / "a.mp4"), asyncio.Event()
    before = child.pid
    first = asyncio.create_task(child.render(job(tmp_path, "a", "prompt 0"), on_tick=seen.of("a")))
    await seen.until("a", "encoding", count=2)  # decoded
    assert child.finishing == 1
    second = asyncio.create_task(child.render(job(tmp_path, "b", "prompt 1"), on_tick=seen.of("b")))
    await seen.until("b", "denoising", 1)
    third = asyncio.create_task(child.render(job(tmp_path, "c", "prompt 2"), on_tick=seen.of("c")))
    fourth = asyncio.create_task(child.render(job(tmp_path, "d"), on_tick=seen.of("d"), cancel=unwanted))
    await seen.until("b", "encoding", count=2)
    unwanted.set()
    assert not first.done()
    assert "c" not in {name for name, _, _ in seen.told}
    held.let_go()
    facts = await asyncio.gather(first, second, third)
    assert [each.sha256 for each in facts] == alone
    with pytest.raises(RenderError, match="Cancelled"):
        await fourth
    assert (child.pid, child.finishing) == (before, 0)


async def test_a_killed_child_costs_both_of_its_jobs_one_more_try(child: RenderChild, tmp_path: Path) -> None:
    """One was being encoded, one denoised: both are done again, one after the other, and neither is given up."""
    alone = [(await child.render(job(tmp_path, f"{n}", f"prompt {n}"))).sha256 for n in range(2)]
    seen = Seen()
    Held(child, tmp_path / "a.mp4")
    before = child.pid
    first = asyncio.create_task(child.render(job(tmp_path, "a", "prompt 0"), on_tick=seen.of("a")))
    await seen.until("a", "encoding", count=2)
    second = asyncio.create_task(child.render(job(tmp_path, "b", "prompt 1"), on_tick=seen.of("b")))
    await seen.until("b", "denoising", 2)
    since = len(seen.told)
    os.kill(before or 0, signal.SIGKILL)
    facts = await asyncio.gather(first, second)
    assert [each.sha256 for each in facts] == alone
    assert child.pid != before
    again = [name for name, phase, step in seen.told[since:] if (phase, step) == ("denoising", 0)]
    assert sorted(again) == ["a", "b"]  # once each
    order = [name for name, phase, _ in seen.told[since:] if phase != "loading"]
    order = order[order.index(again[0]) :]
    assert order == sorted(order, reverse=again[0] == "b")  # each by itself


@pytest.mark.usefixtures("in_a_long_run")
async def test_an_encoder_that_hangs_is_noticed_while_the_next_job_shows_progress(
    child: RenderChild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job has a patience of its own; the job that was only beside it is done again like the one that hung."""
    await child.warm()
    monkeypatch.setattr(child, "_hang_s", 3.0)
    seen = Seen()
    seen.at = lambda tick: tick.phase == "loading" and monkeypatch.setattr(child, "_hang_s", 60.0)
    Held(child, tmp_path / "a.mp4")
    before = child.pid
    first = asyncio.create_task(child.render(job(tmp_path, "a"), on_tick=seen.of("a")))
    await seen.until("a", "encoding", count=2)
    second = asyncio.create_task(child.render(job(tmp_path, "b"), on_tick=seen.of("b")))
    facts = await asyncio.gather(first, second)
    assert facts[0].sha256 == facts[1].sha256
    assert child.pid != before


@pytest.mark.usefixtures("in_a_long_run")
async def test_a_job_that_ends_two_children_is_given_up(
    child: RenderChild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the second try the member reads why; no process is left of either, and the next job is rendered."""
    monkeypatch.setattr("generation.worker.render_protocol.oom_kills", lambda: 7)  # whatever else the machine does
    met: list[int] = []

    async def strike(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 1:
            met.append(child.pid or 0)
            os.kill(met[-1], signal.SIGKILL)

    with pytest.raises(RenderError) as caught:
        await child.render(job(tmp_path, "poison"), on_tick=strike)
    assert caught.value.kind == "crash"
    assert str(caught.value) == "The render process was killed, and not because memory ran out."
    assert child.loaded_model is None or not child.loaded_model.preset.vae_tiling  # no reason to render in another way
    assert len(set(met)) == 2
    assert not [pid for pid in met if runs(pid)]
    assert list(tmp_path.iterdir()) == []
    assert (await child.render(job(tmp_path, "next"))).frames == 9


async def test_a_child_that_the_kernel_killed_for_memory_is_loaded_in_a_lighter_way(
    quick: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernel's own counter, since the signal is the same as anybody's. Both of its jobs say so, and the way is
    one step lighter; the twin is above, where nothing was counted."""
    counted = [7]
    monkeypatch.setattr("generation.worker.render_protocol.oom_kills", lambda: counted[0])
    child, seen = RenderChild(quick, hang_s=60), Seen()
    lighter: list[LoadedModel] = []
    monkeypatch.setattr(
        "generation.worker.render_process.lighter",
        lambda model, loaded: (
            lighter.append(loaded) or (replace(model, overrides={**model.overrides, "vae_tiling": True}), "x")
        ),
    )
    try:
        await child.warm()
        Held(child, tmp_path / "a.mp4")
        first = asyncio.create_task(child.render(job(tmp_path, "a"), on_tick=seen.of("a")))
        await seen.until("a", "encoding", count=2)
        second = asyncio.create_task(child.render(job(tmp_path, "b"), on_tick=seen.of("b")))
        await seen.until("b", "denoising", 2)
        counted[0] += 1
        os.kill(child.pid or 0, signal.SIGKILL)
        facts = await asyncio.gather(first, second)
        assert [settings_of(each)["vae_tiling"] for each in facts] == [True, True]
        assert len(lighter) == 1
    finally:
        await child.close()


async def test_a_cancelled_job_is_not_tried_again(child: RenderChild, tmp_path: Path) -> None:
    """A child that dies while its job is no longer wanted: the member reads that it was cancelled, at once."""
    await child.warm()
    unwanted = asyncio.Event()
    met: list[int] = []

    async def strike(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 1:
            met.append(child.pid or 0)
            unwanted.set()
            os.kill(met[-1], signal.SIGKILL)

    with pytest.raises(RenderError) as caught:
        await child.render(job(tmp_path, "unwanted"), on_tick=strike, cancel=unwanted)
    assert caught.value.kind == "cancelled"
    assert len(met) == 1
    assert (await child.render(job(tmp_path, "next"))).frames == 9


@pytest.mark.usefixtures("in_a_long_run")
async def test_a_size_that_no_machine_holds_is_out_of_memory(quick: Model, tmp_path: Path) -> None:
    """An allocation that fails at once is said as such, without a path or a prompt; the same child in a size
    that fits is the module's other tests."""
    vast = RenderChild(replace(quick, overrides={**quick.overrides, "width": TEBIBYTE, "height": TEBIBYTE}))
    try:
        with pytest.raises(RenderError) as caught:
            await vast.render(job(tmp_path, "vast", "a secret wish"))
        assert caught.value.kind == "out_of_memory"
        assert str(caught.value) == "The worker ran out of memory on this prompt."
        assert list(tmp_path.iterdir()) == []
    finally:
        await vast.close()


async def test_a_damaged_model_does_not_load(tiny_revision: tuple[Path, str], tmp_path: Path) -> None:
    """It is an error of kind load, with a sentence that shows no path of the machine, and no process stays."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_revision[0], folder)
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    child = RenderChild(Model("mine", str(folder)))
    try:
        with pytest.raises(RenderError, match=r"transformer: .* is no safetensors file") as caught:
            await child.warm()
        assert caught.value.kind == "load"
        assert str(tmp_path) not in str(caught.value)
        assert child.pid is None
    finally:
        await child.close()


async def test_an_end_in_mid_render_is_not_the_jobs_fault(quick: Model, tmp_path: Path) -> None:
    """A worker that closes ends its job as `closed`, which hands it on; its child is gone, and no other starts."""
    child = RenderChild(quick)
    begun = asyncio.Event()
    met: list[int] = []

    async def note(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 1:
            met.append(child.pid or 0)
            begun.set()

    rendering = asyncio.create_task(child.render(job(tmp_path, "a"), on_tick=note))
    await asyncio.wait_for(begun.wait(), 60)
    await asyncio.wait_for(child.close(), 60)
    with pytest.raises(RenderError) as caught:
        await rendering
    assert caught.value.kind == "closed"
    assert not runs(met[0])
    with pytest.raises(RenderError) as caught:
        await child.render(job(tmp_path, "b"))
    assert caught.value.kind == "closed"
    assert child.pid is None
    assert list(tmp_path.iterdir()) == []


async def test_a_video_that_cannot_be_written_is_said(child: RenderChild, tmp_path: Path) -> None:
    """Where the folder is a file the job ends with a sentence that names no path, and what lies there stays."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RenderError, match="could not write the video") as caught:
        await child.render(job(tmp_path / "file", "a"))
    assert caught.value.kind == "crash"
    assert str(tmp_path) not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
    assert (await child.render(job(tmp_path, "a"))).frames == 9
