"""`flock rerender`: a video once more from its provenance card, and a comparison of the frames."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from bot.cli.process import Commands, write
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings
from generation.extras import require
from generation.printable import one_line

if TYPE_CHECKING:
    from generation.worker.rerender import Comparison


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser(
        "rerender",
        help="render a video again from its provenance card, and compare the frames",
        description="Renders what the card says with the local model of that name, at that revision. Exits with 0 "
        "when the frames are the same, bit by bit, and with 1 when they are not.",
    )
    parser.add_argument("card", type=Path, help="the JSON file that /provenance gave")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the new video there (an mp4)")
    parser.add_argument(
        "--latents", type=Path, metavar="FILE", help="keep the final latents there (safetensors), and compare them too"
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Render the card's video, print the verdict, and return 0 only for the same frames."""
    settings = load_settings("worker")
    require("worker", "Rendering a video again")
    is_same, text = rerender_card(settings, arguments.card, arguments.out, arguments.latents)
    write(text)
    return 0 if is_same else 1


def rerender_card(settings: Settings, path: Path, out: Path | None, latents: Path | None = None) -> tuple[bool, str]:
    """Return True if a card's video has the same frames here, and the lines that say so. Raises OperatorError.

    Where latents are asked for, they have to be the same as well, if the card tells theirs.
    """
    from generation.video.provenance import MOST_BYTES, read_card
    from generation.worker.render_process import RenderError
    from generation.worker.rerender import rerender

    try:
        if path.stat().st_size > MOST_BYTES:
            raise OperatorError(f"{path} is too large for a provenance card. Give the JSON file that /provenance gave.")
        card = read_card(path.read_text(encoding="utf-8"))
        limits = {"hang_s": settings.hang_s, "load_s": settings.load_s}
        data_dir, models_file = settings.data_dir.resolve(), settings.models_file
        result = asyncio.run(rerender(card, data_dir, models_file, out=out, latents=latents, **limits))
    except OSError as error:
        raise OperatorError(f"{error.filename or path}: {error.strerror}.") from error
    except (ValueError, RenderError) as error:  # of the card or the model: both speak in sentences
        raise OperatorError(str(error)) from error
    verdict = "The frames are the same, bit by bit." if result.same_frames else "The frames are not the same."
    lines = [verdict, f"  here      {result.frames_sha256}", f"  the card  {result.card_frames_sha256}"]
    lines += [f"  note      {one_line(sentence)}" for sentence in result.differences]
    if out is not None:
        lines.append(f"  video     {out}")
    if latents is not None:
        lines += _about_latents(result, latents)
    is_same = result.same_frames and (latents is None or result.same_latents is not False)
    return is_same, "\n".join(lines) + "\n"


def _about_latents(result: Comparison, path: Path) -> list[str]:
    if result.latents_sha256 is None:
        return ["The model's pipeline hands no latents over, so none were kept."]
    verdicts = {
        True: "The final latents are the same, bit by bit.",
        False: "The final latents are not the same.",
        None: "The card has no hash of its latents: they cannot be compared.",
    }
    lines = [verdicts[result.same_latents], f"  here      {result.latents_sha256}"]
    if result.card_latents_sha256 is not None:
        lines.append(f"  the card  {result.card_latents_sha256}")
    return [*lines, f"  latents   {path}"]
