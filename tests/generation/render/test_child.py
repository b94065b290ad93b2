"""The render child, as its supervisor sees it: a real process with a real pipeline, which is really killed."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from generation.models.registry import load_models
from generation.render.child import readable
from generation.render_messages import RenderedVideo, RenderRequest, Tick
from generation.worker.render_process import RenderChild, RenderError, scrubbed

# One child for the whole file: it takes seconds to start.
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Studio:
    """A warm child and a place for its videos."""

    def __init__(self, child: RenderChild, folder: Path) -> None:
        self.child = child
        self.folder = folder
        self.ticks: list[Tick] = []
        self.rendered = 0

    async def render(
        self, prompt: str = "a red circle", seed: int = 1, *, at: Any = None, **more: Any
    ) -> RenderedVideo:
        """`at` is called with every tick."""
        self.rendered += 1
        self.ticks = []

        async def on_tick(tick: Tick) -> None:
            self.ticks.append(tick)
            if at is not None:
                at(tick)

        path = self.folder / str(self.rendered)
        request = RenderRequest(prompt, seed, f"{path}.mp4", f"{path}.jpg")
        return await self.child.render(request, on_tick=on_tick, **more)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def studio(
    tmp_path_factory: pytest.TempPathFactory, tiny_revision: tuple[Path, str], models_file: Path
) -> AsyncIterator[Studio]:
    data_dir = tiny_revision[0].parent.parent
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FLOCK_DISCORD_TOKEN", "a-secret-of-the-bot")
        environment.setenv("HF_TOKEN", "a-secret-of-the-operator")
        child = RenderChild(load_models(data_dir, models_file)["quick"], hang_s=10)
        yield Studio(child, tmp_path_factory.mktemp("videos"))
        await child.close()


async def test_prompt_and_seed_make_the_video(studio: Studio, tiny_revision: tuple[Path, str]) -> None:
    """The same prompt and seed give the same bytes; another prompt or another seed gives another video."""
    first = await studio.render("a red circle", 1)
    assert first.measured.prompt_known is False
    assert first.model_revision == tiny_revision[1]
    assert (first.width, first.height, first.frames, first.fps) == (96, 96, 9, 8.0)
    again = await studio.render("a red circle", 1)  # without the text encoder
    assert (again.sha256, again.measured.prompt_known) == (first.sha256, True)
    assert (await studio.render("a blue square", 1)).sha256 != first.sha256
    assert (await studio.render("a red circle", 2)).sha256 != first.sha256


async def test_progress_is_told_step_by_step(studio: Studio) -> None:
    """Every denoising step is told in order, then that the video is being encoded."""
    await studio.render()
    steps = [tick.step for tick in studio.ticks if tick.phase == "denoising"]
    assert steps == list(range(21))
    assert studio.ticks[-1].phase == "encoding"


async def test_the_child_knows_no_secret(studio: Studio) -> None:
    """Its environment holds neither our settings nor anybody's tokens, and what it needs to run."""
    await studio.child.warm()
    environment = Path(f"/proc/{studio.child.pid}/environ").read_bytes()
    assert b"secret" not in environment
    assert b"FLOCK" not in environment
    assert b"PATH=" in environment
    needed = {
        "CUDA_VISIBLE_DEVICES": "0",
        "XDG_CACHE_HOME": "/c",
        "https_proxy": "http://u:p@proxy:1",
        "CXX": "clang++",
    }
    assert scrubbed({"FLOCK_X": "1", "DATABASE_URL": "1", "HF_TOKEN": "1", "MY_PROXY": "1", **needed}) == needed


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a" * 4000,
        "🎬🦩" * 50,
        "مرحبا بالعالم",
        "a\x00b\x1b[31m",
        "a\u200b\u202eb",
        "half a \ud83d pair",
        "&lt;b&gt; </s>",
    ],
    ids=["empty", "long", "emoji", "right-to-left", "control", "invisible", "surrogate", "markup"],
)
async def test_any_prompt_is_rendered(studio: Studio, prompt: str) -> None:
    """Whatever a member can write becomes a video, and the child stays warm."""
    await studio.child.warm()
    before = studio.child.pid
    assert (await studio.render(prompt)).frames == 9
    assert studio.child.pid == before


async def test_control_characters_and_half_characters_are_removed() -> None:
    """What is left can be written and read; other scripts stay as they are."""
    assert readable("a\x00b\ud83d") == "a b?"
    assert readable("\n a") == "  a"  # places stay the same
    assert readable("日本 🎬 \u200b مرحبا") == "日本 🎬 \u200b مرحبا"


async def test_a_bad_seed_is_an_error_of_the_job(studio: Studio) -> None:
    """The job ends with a sentence, without a second try, and the next one is rendered by the same child."""
    await studio.child.warm()
    before = studio.child.pid
    with pytest.raises(RenderError, match="does not accept") as caught:
        await studio.render(seed="x")  # type: ignore[arg-type]  # on purpose
    assert caught.value.kind == "bad_input"
    assert (await studio.render()).frames == 9
    assert studio.child.pid == before


async def test_a_render_is_cancelled_within_a_step(studio: Studio) -> None:
    """It ends before its last step and leaves no file; the child stays warm and the next job is not touched."""
    await studio.child.warm()
    before = studio.child.pid
    unwanted = asyncio.Event()

    def cancel(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 1:
            unwanted.set()

    with pytest.raises(RenderError) as caught:
        await studio.render(at=cancel, cancel=unwanted)
    assert caught.value.kind == "cancelled"
    assert max(tick.step for tick in studio.ticks) < 20
    assert not (studio.folder / f"{studio.rendered}.mp4").exists()
    assert (await studio.render()).frames == 9
    assert studio.child.pid == before


async def test_a_killed_child_costs_one_more_try(studio: Studio) -> None:
    """A child that dies mid-render is replaced, and the video is the same that it would have been.

    Where we killed it ourselves, since others might have taken the job over, that costs the job nothing.
    """
    wanted = (await studio.render()).sha256
    ended: list[int] = []

    def end(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 2 and len(ended) < 2:
            ended.append(studio.child.pid or 0)
            if len(ended) == 1:
                studio.child.kill()
            else:
                os.kill(ended[-1], signal.SIGKILL)

    assert (await studio.render(at=end)).sha256 == wanted
    assert len({*ended, studio.child.pid}) == 3


async def test_a_child_that_hangs_is_replaced(studio: Studio) -> None:
    """A stopped process shows no progress: it is killed, and the job is done by another."""
    await studio.child.warm()
    stopped: list[int] = []

    def stop(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 2 and not stopped:
            stopped.append(studio.child.pid or 0)
            os.kill(stopped[0], signal.SIGSTOP)

    assert (await studio.render(at=stop)).frames == 9
    assert not Path(f"/proc/{stopped[0]}").exists()


async def test_out_of_memory_is_an_error_of_the_job(
    tmp_path: Path, tiny_revision: tuple[Path, str], models_file: Path
) -> None:
    """Where memory runs out twice the member reads a sentence, and the next job would find a fresh child."""
    data_dir = tiny_revision[0].parent.parent
    studio = Studio(RenderChild(load_models(data_dir, models_file)["vast"]), tmp_path)
    limited: list[int] = []

    def limit(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 0:
            limited.append(studio.child.pid or 0)
            pages = int(Path(f"/proc/{limited[-1]}/statm").read_text().split()[0])
            allowed = pages * resource.getpagesize() + (300 << 20)  # its first noise alone takes 800 MB
            resource.prlimit(limited[-1], resource.RLIMIT_AS, (allowed, allowed))

    with pytest.raises(RenderError, match="ran out of memory on this prompt") as caught:
        await studio.render(at=limit)
    assert caught.value.kind == "out_of_memory"
    assert len(set(limited)) == 2
    assert studio.child.pid is None
    await studio.child.close()


async def test_a_render_that_runs_out_of_memory_is_done_in_a_lighter_way(
    tmp_path: Path, tiny_revision: tuple[Path, str], models_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A child that is left too little memory for its pictures is replaced by one that decodes them in tiles; that one
    is kept for what comes next, and the log says what to set."""
    model = load_models(tiny_revision[0].parent.parent, models_file)["large"]
    studio = Studio(RenderChild(model), tmp_path)
    limited: list[int] = []

    def limit(tick: Tick) -> None:
        if tick.phase == "denoising" and not limited:
            limited.append(studio.child.pid or 0)
            pages = int(Path(f"/proc/{limited[-1]}/statm").read_text().split()[0])
            allowed = pages * resource.getpagesize() + (64 << 20)
            resource.prlimit(limited[-1], resource.RLIMIT_AS, (allowed, allowed))

    try:
        assert (await studio.render(at=limit)).frames == 9
        kept, loaded = studio.child.pid, studio.child.loaded_model
        assert kept not in limited
        assert loaded is not None
        assert loaded.preset.vae_tiling is True
        assert "Memory ran out. Model large is loaded with vae_tiling = true" in caplog.text
        assert caplog.text.count("Memory ran out") == 1
        assert (await studio.render(seed=2)).frames == 9
        assert studio.child.pid == kept
    finally:
        await studio.child.close()


async def test_a_model_that_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    """A folder without a pipeline is an error of kind load, and no process stays behind."""
    (tmp_path / "models.toml").write_text(f'[models.empty]\nsource = "{tmp_path}"\n')
    child = RenderChild(load_models(tmp_path, tmp_path / "models.toml")["empty"])
    with pytest.raises(RenderError, match="holds no diffusers pipeline") as caught:
        await child.warm()
    assert caught.value.kind == "load"
    assert child.pid is None
    await child.close()


async def test_the_child_dies_with_its_worker(tiny_revision: tuple[Path, str]) -> None:
    """A worker that is killed leaves no process on the GPU."""
    script = (
        "import asyncio, sys; from pathlib import Path; from generation.models.registry import tiny_model\n"
        "from generation.worker.render_process import RenderChild\n"
        "async def main():\n"
        "    child = RenderChild(tiny_model(Path(sys.argv[1])))\n"
        "    async def told(tick): print(child.pid, flush=True)\n"
        "    await child.warm(told)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, str(tiny_revision[0].parent.parent)]
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    pid = int(await worker.stdout.readline())
    worker.kill()
    await worker.wait()
    worker._transport.close()  # type: ignore[attr-defined]  # or the pipe is reported as leaked
    async with asyncio.timeout(60):
        while _runs(pid):
            await asyncio.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
